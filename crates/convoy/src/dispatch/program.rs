//! What the host has loaded: the schema, the functions by name, and the host
//! itself. Swapped as a whole, so that a call runs on one version throughout.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use super::{FunctionHost, HostTask, WorkerId, names};
use crate::error::{Code, Failure};
use crate::schema::{Schema, SchemaDescription, SchemaError};

/// One version of the user's code.
pub(crate) struct Program {
    /// Its tables.
    pub schema: Arc<Schema>,
    /// Whether each call's context depends on who calls. Then no result is
    /// shared between callers.
    pub has_context: bool,
    functions: Arc<HashMap<String, Arc<Function>>>,
    /// What makes a context and nothing else; it runs as a query does.
    pub context: Arc<Function>,
    /// Where its functions run.
    pub host: Arc<dyn FunctionHost>,
    /// Whether the network is told why a function cannot be called.
    dev: bool,
}

/// One function.
pub(crate) struct Function {
    /// Its name, such as `messages.list`.
    pub name: Arc<str>,
    /// What kind it is.
    pub kind: FunctionKind,
    /// What the host knows it by.
    pub work: HostTask,
    /// Whether the network may call it.
    pub internal: bool,
    /// Whether its results may be shared between callers at all.
    pub share: bool,
    /// Whether all it does is one transaction.
    pub transactional: bool,
    /// What its runs have shown of it.
    pub learned: LearnedTraits,
}

/// What is known of a function once one of its runs has shown it.
#[derive(Default)]
pub(crate) struct LearnedTraits {
    /// It issued more than one statement, so it starts in a snapshot.
    pub needs_snapshot: Latch,
    /// It did what takes a transaction, so it starts in one.
    pub needs_transaction: Latch,
    /// It failed after it had written, so in a serial queue it gets a savepoint.
    pub fails_after_writing: Latch,
    /// It wrote by `raw`, of which only the log says what.
    pub writes_raw: Latch,
    /// It ran `raw`, which changes settings for the rest of a transaction, so no other
    /// call is in its transaction.
    pub runs_raw: Latch,
}

/// A flag that is set once and stays set.
#[derive(Default)]
pub(crate) struct Latch(AtomicBool);

impl Latch {
    /// Sets it.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The kinds of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    /// Reads; may run again at any time.
    Query,
    /// One serializable transaction, if it has not opted out.
    Mutation,
    /// For the outside world; no transaction of its own.
    Action,
}

impl FunctionKind {
    /// The word in paths and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            FunctionKind::Query => "query",
            FunctionKind::Mutation => "mutation",
            FunctionKind::Action => "action",
        }
    }

    /// The kind a word in a path stands for.
    pub fn parse(word: &str) -> Option<FunctionKind> {
        [FunctionKind::Query, FunctionKind::Mutation, FunctionKind::Action]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// A program as the host describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramDescription {
    schema: SchemaDescription,
    functions: Vec<FunctionDescription>,
    has_context: bool,
    /// Whether loading it may change the database's layout.
    pub sync: bool,
}

#[derive(Debug, Deserialize)]
struct FunctionDescription {
    name: String,
    kind: FunctionKind,
    #[serde(default)]
    internal: bool,
    #[serde(default = "yes")]
    share: bool,
    #[serde(default = "yes")]
    transaction: bool,
}

fn yes() -> bool {
    true
}

impl Program {
    /// Checks a description; `host` will run its functions.
    pub(crate) fn new(
        description: ProgramDescription,
        host: Arc<dyn FunctionHost>,
        dev: bool,
    ) -> Result<Program, SchemaError> {
        let schema = Arc::new(Schema::parse(description.schema)?);
        let functions = description
            .functions
            .into_iter()
            .zip(0..)
            .map(|(function, index)| {
                let FunctionDescription { name, kind, internal, share, transaction } = function;
                let function = Function {
                    name: name.as_str().into(),
                    kind,
                    work: HostTask::Function(index),
                    internal,
                    share,
                    transactional: transaction && kind != FunctionKind::Action,
                    learned: LearnedTraits::default(),
                };
                (name, Arc::new(function))
            })
            .collect();
        let context = Arc::new(Function {
            name: "createContext".into(),
            kind: FunctionKind::Query,
            work: HostTask::Context,
            internal: true,
            share: false,
            transactional: true,
            learned: LearnedTraits::default(),
        });
        Ok(Program { schema, has_context: description.has_context, functions: Arc::new(functions), context, host, dev })
    }

    /// The same program, all of it run by one worker of its host.
    pub(crate) fn at(&self, worker: WorkerId) -> Option<Program> {
        Some(self.on(self.host.clone().at(worker)?))
    }

    /// The same program, for a call that has lost its host.
    pub(crate) fn quarantine(&self) -> Option<Program> {
        Some(self.on(self.host.clone().quarantine()?))
    }

    fn on(&self, host: Arc<dyn FunctionHost>) -> Program {
        let Program { schema, has_context, functions, context, dev, .. } = self;
        let (schema, functions, context) = (schema.clone(), functions.clone(), context.clone());
        Program { schema, has_context: *has_context, functions, context, host, dev: *dev }
    }

    /// The function this process itself asks for, internal ones too.
    pub(crate) fn any(&self, kind: FunctionKind, name: &str) -> Result<Arc<Function>, Failure> {
        match self.functions.get(name) {
            Some(function) if function.kind == kind => Ok(function.clone()),
            _ => Err(self.explained(kind, name)),
        }
    }

    /// The function someone on the network asks for. Unknown, internal and
    /// wrong-kind names are answered alike, so that names cannot be probed; in
    /// development they are told apart.
    pub(crate) fn public(&self, kind: FunctionKind, name: &str) -> Result<Arc<Function>, Failure> {
        match self.functions.get(name) {
            Some(function) if function.kind == kind && !function.internal => Ok(function.clone()),
            _ if self.dev => Err(self.explained(kind, name)),
            _ => Err(Failure::new(Code::NotFound, names::unknown(kind, name))),
        }
    }

    fn explained(&self, kind: FunctionKind, name: &str) -> Failure {
        let found = self.functions.get(name).map(AsRef::as_ref);
        let all = self.functions.values().map(AsRef::as_ref);
        Failure::new(Code::NotFound, names::explained(kind, name, found, all))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A mutation for tests that run no function.
    pub(crate) fn function(name: &str) -> Function {
        Function {
            name: name.into(),
            kind: FunctionKind::Mutation,
            work: HostTask::Function(0),
            internal: false,
            share: true,
            transactional: true,
            learned: LearnedTraits::default(),
        }
    }
}
