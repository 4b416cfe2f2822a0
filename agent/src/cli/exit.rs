//! Exit codes, and which gRPC status means which. The only place where they are decided.

use std::process::ExitCode;

use tonic::Code;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was to do.
    Done,
    /// It failed, or a move was superseded.
    Failed,
    /// It was asked for in a wrong way.
    Usage,
    /// The cluster refused; nothing was changed.
    Refused,
    /// No quorum, or no node was reached.
    Unavailable,
    /// The time is up; the move goes on.
    TimedOut,
    /// Ctrl-C; a move that was acknowledged goes on.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unavailable => 4,
            Self::TimedOut => 5,
            Self::Interrupted => 130,
        }
    }

    /// What the answer of a node means. A call that ran into its deadline counts as unanswered:
    /// only a move that was acknowledged can be said to go on (`TimedOut`).
    pub(super) fn of(code: Code) -> Self {
        match code {
            Code::Ok => Self::Done,
            Code::InvalidArgument => Self::Usage,
            Code::FailedPrecondition
            | Code::Aborted
            | Code::AlreadyExists
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated => Self::Refused,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unavailable,
            Code::Unknown
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_code_has_its_exit_code() {
        for (code, number) in [
            (Code::Ok, 0),
            (Code::Cancelled, 4),
            (Code::Unknown, 1),
            (Code::InvalidArgument, 2),
            (Code::DeadlineExceeded, 4),
            (Code::NotFound, 3),
            (Code::AlreadyExists, 3),
            (Code::PermissionDenied, 3),
            (Code::ResourceExhausted, 1),
            (Code::FailedPrecondition, 3),
            (Code::Aborted, 3),
            (Code::OutOfRange, 1),
            (Code::Unimplemented, 1),
            (Code::Internal, 1),
            (Code::Unavailable, 4),
            (Code::DataLoss, 1),
            (Code::Unauthenticated, 3),
        ] {
            assert_eq!(Exit::of(code).number(), number, "{code:?}");
        }
        assert_eq!(Exit::TimedOut.number(), 5);
        assert_eq!(Exit::Interrupted.number(), 130);
    }
}
