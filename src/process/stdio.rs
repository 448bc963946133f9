//! Where the standard streams of a child lead.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio as StdStdio;

use crate::io::child::Ends;
use crate::io::child::script::Lead;
use crate::io::pipe::{self, reader, writer};
use crate::protocol::Pipe;

/// Where one of the standard streams of a child leads.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// To a pipe, with a transport on this side.
    #[default]
    Piped,
    /// To the same place as that of this process.
    Inherit,
    /// To nowhere: reading gives end of file, what is written is dropped.
    Null,
    /// To an open file.
    Descriptor(OwnedFd),
    /// For standard error: to the same place as standard output, in the order of the writes.
    Stdout,
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self::Descriptor(file.into())
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self::Descriptor(fd)
    }
}

/// The standard streams of a child.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Streams {
    /// The standard streams of a command, and this side's ends of the pipes.
    pub(crate) fn open(self) -> io::Result<([StdStdio; 3], Ends)> {
        let mut ends = Vec::new();
        let stdin = self.stdin.open(Pipe::Stdin, &mut ends)?;
        let stdout = self.stdout.open(Pipe::Stdout, &mut ends)?;
        let stderr = match self.stderr {
            Stdio::Stdout => stdout.share()?,
            stdio => stdio.open(Pipe::Stderr, &mut ends)?,
        };
        Ok(([stdin, stdout, stderr].map(ChildEnd::into_stdio), ends))
    }

    /// The same for a script.
    pub(crate) fn leads(&self) -> io::Result<[Lead; 3]> {
        let lead = |stdio: &Stdio| match stdio {
            Stdio::Piped => Ok(Lead::Pipe),
            Stdio::Inherit | Stdio::Null | Stdio::Descriptor(_) => Ok(Lead::Elsewhere),
            Stdio::Stdout => Err(misplaced()),
        };
        let stderr = if matches!(self.stderr, Stdio::Stdout) { Lead::Stdout } else { lead(&self.stderr)? };
        Ok([lead(&self.stdin)?, lead(&self.stdout)?, stderr])
    }
}

fn misplaced() -> io::Error {
    let text = "only standard error can lead to where standard output leads";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The child's end of a standard stream.
enum ChildEnd {
    Inherit,
    Null,
    Descriptor(OwnedFd),
}

impl Stdio {
    fn open(self, pipe: Pipe, ends: &mut Ends) -> io::Result<ChildEnd> {
        match self {
            Self::Inherit => Ok(ChildEnd::Inherit),
            Self::Null => Ok(ChildEnd::Null),
            Self::Descriptor(fd) => Ok(ChildEnd::Descriptor(fd)),
            Self::Piped => {
                let (read, write) = pipe::pair()?;
                let is_stdin = pipe == Pipe::Stdin;
                let (ours, theirs) = if is_stdin { (write, read) } else { (read, write) };
                let ours = pipe::Pipe::own(ours)?;
                ends.push((pipe, if is_stdin { writer(ours) } else { reader(ours) }));
                Ok(ChildEnd::Descriptor(theirs))
            }
            Self::Stdout => Err(misplaced()),
        }
    }
}

impl ChildEnd {
    /// A second one that leads to the same place.
    fn share(&self) -> io::Result<Self> {
        match self {
            // That is where its standard output leads then.
            Self::Inherit => Ok(Self::Descriptor(io::stdout().as_fd().try_clone_to_owned()?)),
            Self::Null => Ok(Self::Null),
            Self::Descriptor(fd) => Ok(Self::Descriptor(fd.try_clone()?)),
        }
    }

    fn into_stdio(self) -> StdStdio {
        match self {
            Self::Inherit => StdStdio::inherit(),
            Self::Null => StdStdio::null(),
            Self::Descriptor(fd) => fd.into(),
        }
    }
}
