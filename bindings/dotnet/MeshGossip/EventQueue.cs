using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace MeshGossip
{
    /// <summary>Events between one thread that fills and any number of readers, who wait on a thread or do not.
    /// Whoever fills waits while it is full, so that events are lost in one place only: the library's queue, which
    /// counts them.</summary>
    internal sealed class EventQueue
    {
        private readonly object gate = new object();
        private readonly List<MeshEvent> events = new List<MeshEvent>();
        // Monitor waits no longer than this at once.
        private static readonly TimeSpan Longest = TimeSpan.FromMilliseconds(int.MaxValue);
        private int first;
        private readonly List<TaskCompletionSource<bool>> readers = new List<TaskCompletionSource<bool>>();
        private readonly TaskCompletionSource<bool> ended = new TaskCompletionSource<bool>();
        private readonly int capacity;
        private bool closing, complete;

        internal EventQueue(int capacity) { this.capacity = capacity; }

        /// <summary>Done once there will be no more and what there was is taken.</summary>
        internal Task Ended { get { return ended.Task; } }

        /// <summary>Waits for room, until the queue is closed: then nobody may be left to make some, and what the
        /// library still had, which is bounded as well, is kept beyond the capacity.</summary>
        internal void Add(MeshEvent next)
        {
            TaskCompletionSource<bool>[] waiting;
            lock (gate)
            {
                while (Count >= capacity && !closing) Monitor.Wait(gate);
                events.Add(next);
                Monitor.PulseAll(gate);
                waiting = Waiting();
            }
            foreach (var reader in waiting) reader.TrySetResult(true);
        }

        /// <summary>Whoever waits for room is let go.</summary>
        internal void Close()
        {
            lock (gate)
            {
                closing = true;
                Monitor.PulseAll(gate);
            }
        }

        /// <summary>There will be no more; those that wait can still be taken.</summary>
        internal void Complete()
        {
            TaskCompletionSource<bool>[] waiting;
            bool empty;
            lock (gate)
            {
                complete = true;
                Monitor.PulseAll(gate);
                waiting = Waiting();
                empty = Count == 0;
            }
            foreach (var reader in waiting) reader.TrySetResult(!empty);
            if (empty) ended.TrySetResult(true);
        }

        internal bool TryTake(out MeshEvent taken)
        {
            return TryTake(out taken, TimeSpan.Zero);
        }

        /// <summary>False when none came in time, or none will come; a negative time waits for ever.</summary>
        internal bool TryTake(out MeshEvent taken, TimeSpan timeout)
        {
            bool last;
            lock (gate)
            {
                var clock = System.Diagnostics.Stopwatch.StartNew();
                while (Count == 0 && !complete)
                {
                    if (timeout < TimeSpan.Zero) { Monitor.Wait(gate); continue; }
                    var left = timeout - clock.Elapsed;
                    if (left <= TimeSpan.Zero) break;
                    Monitor.Wait(gate, left < Longest ? left : Longest);
                }
                taken = Count == 0 ? null : Oldest();
                Monitor.PulseAll(gate);
                last = complete && Count == 0;
            }
            if (last) ended.TrySetResult(true);
            return taken != null;
        }

        /// <summary>True once one waits, which another reader may take first; false once none will come.</summary>
        internal Task<bool> WaitAsync(CancellationToken cancel)
        {
            if (cancel.IsCancellationRequested)
            {
                var cancelled = new TaskCompletionSource<bool>();
                cancelled.SetCanceled();
                return cancelled.Task;
            }
            TaskCompletionSource<bool> reader;
            lock (gate)
            {
                if (Count > 0 || complete) return Task.FromResult(Count > 0);
                reader = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                readers.Add(reader);
            }
            if (!cancel.CanBeCanceled) return reader.Task;
            var registration = cancel.Register(() => { Forget(reader); reader.TrySetCanceled(); });
            return reader.Task.ContinueWith(done => { registration.Dispose(); return done; },
                CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default).Unwrap();
        }

        /// <summary>The next one; null once none will come. The owner lives as long as somebody waits.</summary>
        internal async Task<MeshEvent> TakeAsync(Agent owner, CancellationToken cancel)
        {
            MeshEvent taken = null;
            while (!TryTake(out taken) && await WaitAsync(cancel).ConfigureAwait(false)) { }
            GC.KeepAlive(owner);
            return taken;
        }

        private int Count { get { return events.Count - first; } }

        // What is taken leaves a gap at the front, which is closed once it is half of all.
        private MeshEvent Oldest()
        {
            var oldest = events[first];
            events[first++] = null;
            if (first > events.Count / 2)
            {
                events.RemoveRange(0, first);
                first = 0;
            }
            return oldest;
        }

        private void Forget(TaskCompletionSource<bool> reader) { lock (gate) readers.Remove(reader); }

        private TaskCompletionSource<bool>[] Waiting()
        {
            var waiting = readers.ToArray();
            readers.Clear();
            return waiting;
        }
    }

#if NET7_0_OR_GREATER
    /// <summary>The queue as .NET's readers know it. It holds the agent, so that who only reads keeps it running.</summary>
    internal sealed class EventReader : System.Threading.Channels.ChannelReader<MeshEvent>
    {
        private readonly Agent agent;
        private readonly EventQueue queue;

        internal EventReader(Agent agent, EventQueue queue)
        {
            this.agent = agent;
            this.queue = queue;
        }

        public override Task Completion { get { return queue.Ended; } }

        public override bool TryRead(out MeshEvent item)
        {
            bool taken = queue.TryTake(out item);
            GC.KeepAlive(agent);
            return taken;
        }

        public override ValueTask<bool> WaitToReadAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return new ValueTask<bool>(queue.WaitAsync(cancellationToken));
        }
    }
#endif
}
