//! Start and stop for hosts that are asynchronous, on whatever executor they run.
//!
//! Starting reads files and binds ports, stopping waits for others' acknowledgements and for threads:
//! each blocks for milliseconds to seconds. A thread that lives as long as that does it, and tells the
//! host's task by its waker, so that no executor's thread is held up and none has to be of a
//! certain make.
//!
//! Invariant: what was begun comes to its end, whether or not anybody still waits for it: a start that
//! nobody awaits any more leaves nothing running.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Agent;
use super::building::{AgentBuilder, BuildError};
use crate::error::{AgentError, StartError};

impl AgentBuilder {
    /// [`AgentBuilder::start`] for a task: nothing blocks the executor, which may be any. Begins when
    /// it is first polled. The agent is shared, as tasks share it, and is stopped with
    /// [`Agent::shutdown`].
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use mesh_gossip::Agent;
    ///
    /// # async fn host() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let Some(agent) = Agent::builder().start_async().await? else { return Ok(()) };
    /// println!("{} members", agent.view().view.counts().present());
    /// agent.shutdown(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`AgentBuilder::start`].
    pub async fn start_async(self) -> Result<Option<Arc<Agent>>, BuildError> {
        let started = aside("mesh-start", move || self.start()).await;
        let started = started.map_err(|error| BuildError::Start(StartError::Thread(error)))?;
        Ok(started?.map(Arc::new))
    }
}

impl Agent {
    /// Says goodbye as [`Agent::leave`] does, waiting up to `timeout` for acknowledgements, and stops
    /// as [`Agent::stop`] does; returns how many acknowledged, once the ports are free. For a task:
    /// nothing blocks the executor, which may be any. Begins when it is first polled, and goes on when
    /// nobody waits for it any more.
    ///
    /// # Errors
    /// As [`Agent::leave`]; the agent has stopped all the same.
    pub async fn shutdown(self: Arc<Self>, timeout: Duration) -> Result<usize, AgentError> {
        let agent = Arc::clone(&self);
        let ended = aside("mesh-stop", move || {
            let left = agent.leave(timeout);
            agent.stop();
            left
        });
        match ended.await {
            Ok(left) => left,
            // Without a thread there is no goodbye; dropping it would block as long.
            Err(_) => Err(AgentError::Stopped),
        }
    }
}

type Done<T> = Result<T, Box<dyn Any + Send>>;

/// Does what blocks on a thread of its own; a panic there is one here.
///
/// # Errors
/// There is no thread to be had.
async fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel::<Done<T>>();
    let mut told = pin!(told);
    let mut begin = Some(move || {
        let done = catch_unwind(AssertUnwindSafe(work));
        // Whoever asked may have given up: then it goes here, where blocking is allowed.
        drop(tell.send(done));
    });
    poll_fn(|context| {
        if let Some(begin) = begin.take() {
            // The waker is known before there is anything to tell.
            let early = told.as_mut().poll(context);
            assert!(early.is_pending(), "nothing was begun");
            thread::Builder::new().name(name.into()).spawn(begin)?;
            return Poll::Pending;
        }
        match told.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Ok(done))) => Poll::Ready(Ok(done)),
            Poll::Ready(Ok(Err(panic))) => resume_unwind(panic),
            Poll::Ready(Err(_)) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::task::{Context, Wake, Waker};
    use std::thread::ThreadId;

    use super::super::PATIENCE;
    use super::*;

    /// An executor of the simplest make: it sleeps until a waker says so, and notes who that was.
    struct Bell {
        rung: Sender<ThreadId>,
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.rung.send(thread::current().id());
        }
    }

    fn bell() -> (Waker, Receiver<ThreadId>) {
        let (rung, rings) = mpsc::channel();
        (Arc::new(Bell { rung }).into(), rings)
    }

    /// What blocks is done elsewhere: the first look returns at once, before the work may go on, and the
    /// waker is called from the thread that did it.
    #[test]
    fn what_blocks_runs_on_a_thread_of_its_own_on_any_executor() {
        let (waker, rings) = bell();
        let mut context = Context::from_waker(&waker);
        let (go_on, waits) = mpsc::channel();
        let mut work = pin!(aside("mesh-test", move || {
            waits.recv().unwrap();
            thread::current().id()
        }));
        assert!(work.as_mut().poll(&mut context).is_pending());
        assert!(work.as_mut().poll(&mut context).is_pending(), "it waits for us");
        assert!(rings.try_recv().is_err());
        go_on.send(()).unwrap();
        let rung = rings.recv_timeout(PATIENCE).unwrap();
        let Poll::Ready(Ok(worked)) = work.as_mut().poll(&mut context) else {
            panic!("it is done")
        };
        assert_eq!((worked == thread::current().id(), rung), (false, worked));
    }

    /// What nobody waits for any more comes to its end, and goes where blocking is allowed.
    #[test]
    fn what_was_begun_is_ended_when_nobody_waits() {
        struct Goes(Sender<ThreadId>);
        impl Drop for Goes {
            fn drop(&mut self) {
                let _ = self.0.send(thread::current().id());
            }
        }
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        let (waker, _rings) = bell();
        let mut context = Context::from_waker(&waker);
        let ((go_on, waits), (gone, goes)) = (mpsc::channel::<()>(), mpsc::channel());
        let begin = move |waits: Receiver<()>| {
            let gone = gone.clone();
            aside("mesh-test", move || {
                BEGUN.fetch_add(1, Ordering::SeqCst);
                waits.recv().unwrap();
                Goes(gone)
            })
        };
        drop(begin(mpsc::channel().1));
        let mut work = Box::pin(begin(waits));
        assert!(work.as_mut().poll(&mut context).is_pending());
        drop(work);
        go_on.send(()).unwrap();
        let by = goes.recv_timeout(PATIENCE).unwrap();
        assert_ne!(by, thread::current().id());
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1, "what was never polled never began");
    }

    #[test]
    #[should_panic(expected = "as it happens")]
    fn a_panic_reaches_who_waits() {
        let (waker, rings) = bell();
        let mut context = Context::from_waker(&waker);
        let mut work = pin!(aside::<()>("mesh-test", || panic!("as it happens")));
        assert!(work.as_mut().poll(&mut context).is_pending());
        rings.recv_timeout(PATIENCE).unwrap();
        let _ = work.as_mut().poll(&mut context);
    }
}
