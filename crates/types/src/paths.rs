//! Relative paths inside a task's directory: checked before anything is sent, and again before anything is written.

/// Why a path cannot name a file in a task's directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No path at all.
    #[error("the path is empty")]
    Empty,
    /// Starts at the root of the file system.
    #[error("`{0}` is absolute; give a path relative to the working directory")]
    Absolute(String),
    /// Leaves the directory by `..`.
    #[error("`{0}` leaves the working directory by `..`")]
    Escapes(String),
    /// Cannot be a path.
    #[error("`{0}` contains a NUL byte or is longer than 4096 bytes")]
    Unusable(String),
}

/// Drops `.` and doubled slashes; refuses what would leave the directory. The result never starts or ends with `/`.
pub fn normalise(path: &str) -> Result<String, PathError> {
    if path.contains('\0') || path.len() > crate::limits::MAX_PATH {
        return Err(PathError::Unusable(path.chars().take(80).collect()));
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute(path.to_owned()));
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(PathError::Escapes(path.to_owned())),
            p => parts.push(p),
        }
    }
    if parts.is_empty() {
        return Err(PathError::Empty);
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_inside() {
        assert_eq!(normalise("./a//b/."), Ok("a/b".into()));
        assert!(matches!(normalise("/etc/x"), Err(PathError::Absolute(_))));
        assert!(matches!(normalise("a/../../b"), Err(PathError::Escapes(_))));
        assert!(matches!(normalise("./"), Err(PathError::Empty)));
        assert!(matches!(normalise("a\0b"), Err(PathError::Unusable(_))));
    }
}
