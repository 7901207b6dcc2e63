//! The part of an engine that the threads of a process share: each thread loads the addon
//! and finds the engine by its number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use convoy::{Code, Engine, Failure};
use convoy::{WorkerEvent, WorkerId, Workers};
use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};

use crate::promise::rejection;
use crate::runtime;

/// Notifies the owner of the workers. It does not keep the event loop of its thread alive.
type NotifyOwner = ThreadsafeFunction<NoticeArguments, (), NoticeArguments, Status, false, true>;

/// `(event, program, worker or 0, reason)`.
pub type NoticeArguments = FnArgs<(String, u32, u32, String)>;

/// The engines of this process, by number, as long as they exist.
static ENGINES: Mutex<Option<HashMap<u32, Weak<Shared>>>> = Mutex::new(None);

/// An engine, and its worker pools by the number of their program.
pub struct Shared {
    pub engine: Arc<Engine>,
    number: u32,
    pools: Mutex<HashMap<u32, Arc<Workers>>>,
    notify: Arc<OnceLock<NotifyOwner>>,
}

impl Shared {
    pub fn of(engine: Arc<Engine>) -> Arc<Shared> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared { engine, number, pools: Mutex::default(), notify: Arc::default() });
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        let engines = engines.get_or_insert_default();
        engines.retain(|_, shared| shared.strong_count() > 0);
        engines.insert(number, Arc::downgrade(&shared));
        shared
    }

    /// Registers `notify` for events to the owner of the workers. Returns the number by
    /// which workers find the engine.
    pub fn publish(&self, notify: &Function<'_, NoticeArguments, ()>) -> Result<u32> {
        let notify = notify.build_threadsafe_function::<NoticeArguments>().weak::<true>().build()?;
        if self.notify.set(notify).is_err() {
            return Err(rejection(&Failure::new(Code::Internal, "This engine is already shared.")));
        }
        Ok(self.number)
    }

    /// The engine of this number.
    pub fn find(number: u32) -> Option<Arc<Shared>> {
        ENGINES.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(&number)?.upgrade()
    }

    /// All engines of this process.
    pub fn all() -> Vec<Arc<Engine>> {
        let engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = engines.iter().flat_map(HashMap::values).filter_map(Weak::upgrade);
        shared.map(|shared| shared.engine.clone()).collect()
    }

    pub fn open_pool(&self, number: u32) {
        let notify = self.notify.clone();
        let _runtime = runtime().enter();
        let (limit, supervisor) = (self.engine.config().limits.unresponsive_time(), self.engine.supervisor().clone());
        let engine = Arc::downgrade(&self.engine);
        let pool = Workers::new(limit, supervisor, move |event| {
            let (name, WorkerId(worker), reason) = match event {
                WorkerEvent::AllUnresponsive { why } => ("allUnresponsive", WorkerId(0), why),
                WorkerEvent::Lost => {
                    if let Some(engine) = engine.upgrade() {
                        engine.record_worker_restart();
                    }
                    return;
                }
                WorkerEvent::Recovered(worker) => ("recovered", worker, String::new()),
                WorkerEvent::Stuck { worker, why } => ("stuck", worker, why),
                WorkerEvent::Drained(worker) => ("drained", worker, String::new()),
                WorkerEvent::Retired => ("retired", WorkerId(0), String::new()),
            };
            if let Some(notify) = notify.get() {
                // Fails only if the main thread has ended, which ends its workers, too.
                notify.call((name.to_owned(), number, worker, reason).into(), ThreadsafeFunctionCallMode::NonBlocking);
            }
        });
        self.pools().insert(number, pool);
    }

    pub fn pool(&self, number: u32) -> Option<Arc<Workers>> {
        self.pools().get(&number).cloned()
    }

    pub fn close_pool(&self, number: u32) {
        let pool = self.pools().remove(&number);
        drop(pool);
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Workers>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
