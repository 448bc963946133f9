//! Integration tests, a module for each theme.
