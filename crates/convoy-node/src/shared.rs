//! What the threads of a process share of an engine: each loads the addon by
//! itself, and finds the engine by its number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use convoy::dispatch::{WorkerId, Workers};
use convoy::{Code, Engine, Failure};
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};

use crate::promise::rejection;
use crate::runtime;

/// Called with the id of a worker that is stuck. It does not keep the event loop
/// of its thread alive.
type Stuck = ThreadsafeFunction<u32, (), u32, Status, false, true>;

/// The engines that worker threads may attach to. One that is gone is found no
/// more.
static ENGINES: Mutex<Option<HashMap<u32, Weak<Shared>>>> = Mutex::new(None);

/// An engine, and the pools of its workers by the number of their program.
pub struct Shared {
    pub engine: Arc<Engine>,
    pools: Mutex<HashMap<u32, Arc<Workers>>>,
    stuck: Arc<OnceLock<Stuck>>,
}

impl Shared {
    pub fn of(engine: Arc<Engine>) -> Arc<Shared> {
        Arc::new(Shared { engine, pools: Mutex::default(), stuck: Arc::default() })
    }

    /// Lets workers find this engine, by the number it gives.
    pub fn publish(self: &Arc<Self>, stuck: &Function<'_, u32, ()>) -> Result<u32> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let stuck = stuck.build_threadsafe_function::<u32>().weak::<true>().build()?;
        if self.stuck.set(stuck).is_err() {
            return Err(rejection(&Failure::new(Code::Internal, "this engine is shared already")));
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        let engines = engines.get_or_insert_default();
        engines.retain(|_, shared| shared.strong_count() > 0);
        engines.insert(number, Arc::downgrade(self));
        Ok(number)
    }

    /// The engine of this number.
    pub fn find(number: u32) -> Option<Arc<Shared>> {
        ENGINES.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(&number)?.upgrade()
    }

    pub fn open_pool(&self, number: u32) {
        let stuck = self.stuck.clone();
        let _runtime = runtime().enter();
        let pool = Workers::new(self.engine.config().limits.stuck_time(), move |worker: WorkerId| {
            if let Some(stuck) = stuck.get() {
                // A main thread that is gone ends its workers by itself.
                stuck.call(worker.0, ThreadsafeFunctionCallMode::NonBlocking);
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

    /// A worker goes away.
    pub fn leave(&self, worker: WorkerId) {
        let pools: Vec<Arc<Workers>> = self.pools().values().cloned().collect();
        pools.iter().for_each(|pool| pool.leave(worker));
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Workers>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
