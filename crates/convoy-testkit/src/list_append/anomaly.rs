//! What can be wrong with a history.

use std::fmt;

/// Why one transaction has to come before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// The second one appended directly after a value of the first.
    Write,
    /// The second one read the last value of the first.
    Read,
    /// The second one appended a value that the first has not read.
    AntiDependency,
    /// The first one was answered before the second was sent.
    Time,
}

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Anomaly {
    /// A list has a value twice.
    Duplicate {
        /// The list.
        key: u64,
        /// The value.
        value: u64,
    },
    /// Two reads of a list agree on no order.
    Forked {
        /// The list.
        key: u64,
        /// The reads.
        reads: (Vec<u64>, Vec<u64>),
    },
    /// A value was read that was never appended to the list.
    Phantom {
        /// The list.
        key: u64,
        /// The value.
        value: u64,
    },
    /// A value was read whose transaction had no effect.
    AbortedRead {
        /// The list.
        key: u64,
        /// The value.
        value: u64,
    },
    /// No read has the value, although one began after its transaction had happened.
    Lost {
        /// The list.
        key: u64,
        /// The value.
        value: u64,
    },
    /// A read saw some appends of another transaction, but not all of them.
    Intermediate {
        /// The list.
        key: u64,
        /// The last value that was read.
        value: u64,
    },
    /// A transaction did not read what it has written itself, or read a list differently
    /// twice.
    Internal {
        /// The list.
        key: u64,
    },
    /// Transactions that each have to come before the next, and the last before the first.
    Cycle {
        /// The positions of the transactions, each with the dependency of the next one on it.
        of: Vec<(usize, Dependency)>,
    },
}

impl Anomaly {
    /// The name of the anomaly: for a cycle, by the dependencies in it, as Adya defined them.
    pub fn name(&self) -> &'static str {
        let of = match self {
            Anomaly::Duplicate { .. } => return "duplicate append",
            Anomaly::Forked { .. } => return "forked order",
            Anomaly::Phantom { .. } => return "phantom append",
            Anomaly::AbortedRead { .. } => return "G1a (aborted read)",
            Anomaly::Lost { .. } => return "lost append",
            Anomaly::Intermediate { .. } => return "G1b (intermediate read)",
            Anomaly::Internal { .. } => return "internal",
            Anomaly::Cycle { of } => of,
        };
        let count = |wanted| of.iter().filter(|(_, dependency)| *dependency == wanted).count();
        match (count(Dependency::Time), count(Dependency::AntiDependency), count(Dependency::Read)) {
            (1.., _, _) => "real time",
            (0, 0, 0) => "G0 (write cycle)",
            (0, 0, _) => "G1c (circular information flow)",
            (0, 1, _) => "G-single (read skew)",
            _ => "G2 (write skew)",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anomaly::Cycle { of } => {
                write!(f, "{}:", self.name())?;
                of.iter().try_for_each(|(at, dependency)| write!(f, " {at} -{dependency:?}->"))
            }
            other => write!(f, "{}: {other:?}", self.name()),
        }
    }
}
