//! The savepoints of one transaction.

/// Savepoints by their names, oldest first, each with a position to return to.
#[derive(Debug, Default)]
pub(super) struct Savepoints(Vec<(u32, usize)>);

impl Savepoints {
    /// Adds one.
    pub(super) fn set(&mut self, name: u32, position: usize) {
        self.0.push((name, position));
    }

    /// Removes the savepoints after the newest of this name, and returns its position.
    pub(super) fn return_to(&mut self, name: u32) -> Option<usize> {
        let at = self.0.iter().rposition(|(of, _)| *of == name)?;
        self.0.truncate(at + 1);
        Some(self.0[at].1)
    }

    /// Whether there are no savepoints.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returning_to_a_savepoint_keeps_it_and_removes_those_after_it() {
        let mut savepoints = Savepoints::default();
        for (name, position) in [(1, 0), (2, 3), (1, 5), (3, 7)] {
            savepoints.set(name, position);
        }
        assert_eq!(savepoints.return_to(1), Some(5));
        assert_eq!(savepoints.return_to(3), None);
        assert_eq!(savepoints.return_to(1), Some(5));
        assert_eq!(savepoints.return_to(2), Some(3));
    }
}
