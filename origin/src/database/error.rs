//! What can go wrong with the database, sorted by what a client should do about it.

/// A statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// Unreachable, slow, full, read-only, failing over: the same request may succeed in a moment.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Anything else is a defect of ours.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
}

impl DatabaseError {
    /// Whether a unique constraint refused the row.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Statement(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_passing(&code)),
            _ => false,
        };
        if passing {
            Self::Unavailable(error)
        } else {
            Self::Statement(error)
        }
    }
}

/// Whether a condition passes by itself (PostgreSQL 15, appendix A).
fn is_passing(sqlstate: &str) -> bool {
    // Connection exceptions, insufficient resources, operator intervention (shutdown, cancelled by a timeout).
    ["08", "53", "57"].iter().any(|class| sqlstate.starts_with(class))
        // Read-only transaction, serialization failure, deadlock, lock not available, database closed to connections; and
        // the passwords and databases that are missing while a server is being set up or restored.
        || ["25006", "40001", "40P01", "55P03", "55000", "28P01", "28000", "3D000"].contains(&sqlstate)
}

#[cfg(test)]
mod tests {
    use super::{DatabaseError, is_passing};

    #[test]
    fn what_passes_is_no_defect() {
        for code in ["08006", "53300", "57P01", "57014", "25006", "40001", "40P01"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["42501", "23505", "42P01", "22P02", ""] {
            assert!(!is_passing(code), "{code}");
        }
        assert!(matches!(
            sqlx::Error::PoolTimedOut.into(),
            DatabaseError::Unavailable(_)
        ));
        assert!(matches!(sqlx::Error::RowNotFound.into(), DatabaseError::Statement(_)));
    }
}
