//! Keeps the book true: its listings, links, transcripts and drawings, and the programs that it shows.
//!
//! With `BOOK_UPDATE=1` in the environment, transcripts and drawings are written instead of compared.

mod asyncio;
mod check;
mod example;
mod figures;
mod lifecycle;
mod snapshot;
mod transcripts;

/// The programs with their own tests.
#[path = "../../examples/book/main.rs"]
mod programs;
