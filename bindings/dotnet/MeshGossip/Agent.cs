using System;
using System.Threading;
using System.Threading.Tasks;

namespace MeshGossip
{
    /// <summary>What only a program can say of an agent's start.</summary>
    public sealed class StartSettings
    {
        public StartSettings()
        {
            EventsCapacity = 1024;
            LogLevel = LogLevel.Info;
        }

        /// <summary>So many events wait here and as many in the library, which then tells of what was lost.</summary>
        public int EventsCapacity { get; set; }

        /// <summary>Takes the lines of the log, in order, on a thread of its own; null: nobody does. What it throws is lost.</summary>
        public Action<LogEntry> Log { get; set; }

        /// <summary>The least that is told.</summary>
        public LogLevel LogLevel { get; set; }
    }

    /// <summary>A member of a mesh. Disposing stops it without a goodbye; Leave says one. An agent that its program
    /// forgets is stopped when it is collected.</summary>
    public sealed partial class Agent : IDisposable
#if NET7_0_OR_GREATER
        , IAsyncDisposable
#endif
    {
        private readonly AgentHandle handle;
        private readonly ViewCache views = new ViewCache();
        private readonly EventQueue queue;
        private readonly EventPump pump;
        private int disposed;

        private Agent(AgentHandle handle, int eventsCapacity)
        {
            this.handle = handle;
            NodeId = Call.Text(Native.agent_node_id(handle));
            Address = Call.Text(Native.agent_address(handle));
            queue = new EventQueue(eventsCapacity);
            pump = new EventPump(handle, queue);
#if NET7_0_OR_GREATER
            Events = new EventReader(this, queue);
#endif
        }

        ~Agent()
        {
            if (pump != null) pump.Abandon();
        }

        public static Agent Start(Options options, int eventsCapacity = 1024)
        {
            return Start(options, new StartSettings { EventsCapacity = eventsCapacity });
        }

        /// <summary>Returns once the ports are bound; joining goes on by itself.</summary>
        public static unsafe Agent Start(Options options, StartSettings settings)
        {
            if (options == null) throw new ArgumentNullException("options");
            if (settings == null) throw new ArgumentNullException("settings");
            if (settings.EventsCapacity < 1) throw new ArgumentOutOfRangeException("eventsCapacity");
            if (settings.LogLevel < LogLevel.Error || settings.LogLevel > LogLevel.Trace)
                throw new ArgumentOutOfRangeException("logLevel");
            StartOptions start;
            Call.Check(Native.start_options_init(&start, (UIntPtr)sizeof(StartOptions)), IntPtr.Zero);
            start.EventsCapacity = (UIntPtr)settings.EventsCapacity;
            LogSink log = settings.Log == null ? null : new LogSink(settings.Log);
            AgentHandle handle = null;
            try
            {
                if (log != null)
                {
                    start.Log = LogSink.Function;
                    start.LogUser = log.User;
                    start.LogLevel = (uint)settings.LogLevel;
                }
                IntPtr raw, error;
                Call.Check(Native.agent_start_with(options.Handle, &start, out raw, out error), error);
                handle = new AgentHandle(raw, log);
                log = null;
                return new Agent(handle, settings.EventsCapacity);
            }
            catch
            {
                // The library has stopped calling the log once a start has failed, and once an agent is freed.
                if (handle != null) handle.Dispose();
                if (log != null) log.Release();
                throw;
            }
        }

        public string NodeId { get; private set; }
        public string Address { get; private set; }

        /// <summary>The newest view; the same object as long as nothing has changed.</summary>
        public View Snapshot()
        {
            IntPtr raw, error;
            Call.Check(Native.snapshot_try_acquire(handle, out raw, out error), error);
            using (var snapshot = new SnapshotHandle(raw)) return views.Read(snapshot);
        }

#if NET7_0_OR_GREATER
        /// <summary>Events in order, until the agent has ended. Whoever holds the reader keeps the agent running.</summary>
        public System.Threading.Channels.ChannelReader<MeshEvent> Events { get; private set; }
#endif

        /// <summary>Takes the next event in order; false when none came in time, or none will come.</summary>
        public bool TryTakeEvent(out MeshEvent taken, TimeSpan timeout)
        {
            bool found = queue.TryTake(out taken, timeout);
            GC.KeepAlive(this);
            return found;
        }

        /// <summary>The next event in order; null when none will come.</summary>
        public Task<MeshEvent> TakeEventAsync(CancellationToken cancel = default(CancellationToken))
        {
            return queue.TakeAsync(this, cancel);
        }

        /// <summary>Says goodbye and waits until enough members know.</summary>
        public void Leave(TimeSpan timeout)
        {
            IntPtr error;
            Call.Check(Native.agent_leave(handle, Ms(timeout), out error), error);
        }

        public Task LeaveAsync(TimeSpan timeout) { return Task.Run(() => Leave(timeout)); }

        /// <summary>Stops without a goodbye; again, it does nothing. Events can still be taken.</summary>
        public void Stop()
        {
            IntPtr error;
            Call.Check(Native.agent_stop(handle, out error), error);
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0) return;
            GC.SuppressFinalize(this);
            IntPtr error;
            if (Native.agent_stop(handle, out error) != 0) Native.error_free(error);
            pump.Close();
            handle.Dispose();
        }

        // Stopping waits for threads of the library: not on the thread of who awaits it.
#if NET7_0_OR_GREATER
        public ValueTask DisposeAsync() { return new ValueTask(Task.Run(new Action(Dispose))); }
#else
        public Task DisposeAsync() { return Task.Run(new Action(Dispose)); }
#endif

        private static UIntPtr Length(byte[] content) { return content == null ? UIntPtr.Zero : (UIntPtr)content.Length; }

        private static ulong Ms(TimeSpan timeout)
        {
            if (timeout < TimeSpan.Zero) throw new ArgumentOutOfRangeException("timeout");
            return (ulong)timeout.TotalMilliseconds;
        }
    }
}
