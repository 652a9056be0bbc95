using System;
using System.Threading;

namespace MeshGossip
{
    /// <summary>A thread that moves events from the library into the queue. It knows the handle and not the agent:
    /// an agent that its program has forgotten is collected although this thread runs, and its finalizer ends both.</summary>
    internal sealed unsafe class EventPump
    {
        private readonly AgentHandle handle;
        private readonly EventQueue queue;
        private readonly Thread thread;
        private volatile bool closing, abandoned;

        internal EventPump(AgentHandle handle, EventQueue queue)
        {
            this.handle = handle;
            this.queue = queue;
            thread = new Thread(Run) { IsBackground = true, Name = "mesh-events" };
            thread.Start();
        }

        /// <summary>Ends the thread, whatever waits, and returns once it has ended.</summary>
        internal void Close()
        {
            closing = true;
            queue.Close();
            if (Thread.CurrentThread != thread) thread.Join();
        }

        /// <summary>The same without waiting: the thread stops and frees the agent when it ends.</summary>
        internal void Abandon()
        {
            abandoned = true;
            closing = true;
            queue.Close();
        }

        private void Run()
        {
            bool held = false;
            try
            {
                handle.DangerousAddRef(ref held);
                var descriptor = new PollDescriptor { Descriptor = Native.agent_events_fd(handle), Wanted = 1 };
                bool ended = descriptor.Descriptor < 0;
                while (!ended && !abandoned)
                {
                    // What a stopped agent still had is taken, down to Ended; a defect that says none holds up no Close.
                    bool last = closing;
                    if (Native.poll(&descriptor, (UIntPtr)1, last ? 0 : 500) > 0) ended = TakeBatch();
                    else if (last) ended = true;
                }
            }
            catch (MeshGossipException) { }
            finally
            {
                queue.Complete();
                if (held) handle.DangerousRelease();
                if (abandoned) handle.Dispose();
            }
        }

        // Whether there is nothing more to wait for. Ended is the last event of all.
        private bool TakeBatch()
        {
            IntPtr batch, error;
            Call.Check(Native.agent_take_events(handle, (UIntPtr)64, out batch, out error), error);
            try
            {
                ulong count = (ulong)Native.events_len(batch);
                for (ulong i = 0; i < count; i++)
                {
                    var next = new MeshEvent((EventRecord*)Native.events_at(batch, (UIntPtr)i));
                    queue.Add(next);
                    if (next.Kind == EventKind.Ended) return true;
                }
                return false;
            }
            finally { Native.events_free(batch); }
        }
    }
}
