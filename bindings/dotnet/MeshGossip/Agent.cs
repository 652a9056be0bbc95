using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

namespace MeshGossip
{
    /// <summary>Whether the library loaded is the one that this assembly was written for.</summary>
    public static unsafe class Runtime
    {
        public const uint AbiVersion = 1;

        public static string Version { get { return Call.Text(Native.version_string()); } }
        public static ulong Features { get { return Native.features(); } }

        /// <summary>Throws when the library's ABI or its records are not what this assembly reads.</summary>
        public static void Check()
        {
            uint found = Native.abi_version();
            if (found != AbiVersion)
                throw new MeshGossipException(ErrorCode.Abi, "the library speaks ABI " + found + ", wanted " + AbiVersion, null);
            Fits("event", Native.events_stride(), sizeof(EventRecord));
            Fits("member", Native.members_stride(), sizeof(MemberRecord));
            Fits("label", Native.labels_stride(), sizeof(LabelRecord));
            Fits("contact", Native.contacts_stride(), sizeof(ContactRecord));
        }

        private static void Fits(string what, UIntPtr stride, int known)
        {
            if ((ulong)stride < (ulong)known)
                throw new MeshGossipException(ErrorCode.Abi, "the library's " + what + " records are too short", what);
        }
    }

    /// <summary>Settings of an agent, checked by the library.</summary>
    public sealed unsafe class Options : IDisposable
    {
        internal readonly OptionsHandle Handle;

        private Options(IntPtr raw) { Handle = new OptionsHandle(raw); }

        public static Options FromJson(string json)
        {
            Runtime.Check();
            IntPtr options, error;
            fixed (byte* text = Call.Utf8(json, "json"))
                Call.Check(Native.options_from_json(text, out options, out error), error);
            return new Options(options);
        }

        public static Options FromFile(string path)
        {
            Runtime.Check();
            IntPtr options, error;
            fixed (byte* text = Call.Utf8(path, "path"))
                Call.Check(Native.options_from_file(text, out options, out error), error);
            return new Options(options);
        }

        /// <summary>Sets a key as "fanout" or "tls:caPath"; null takes back.</summary>
        public Options Set(string key, string value)
        {
            IntPtr error;
            fixed (byte* k = Call.Utf8(key, "key"), v = Call.Utf8(value, "value"))
                Call.Check(Native.options_set(Handle, k, v, out error), error);
            return this;
        }

        public void Dispose() { Handle.Dispose(); }
    }

    /// <summary>A member of a mesh. Disposing stops it without a goodbye; Leave says one.</summary>
    public sealed unsafe class Agent : IDisposable
    {
        private readonly AgentHandle handle;
        private readonly ViewCache views = new ViewCache();
        private readonly CancellationTokenSource closing = new CancellationTokenSource();
        private readonly BlockingCollection<MeshEvent> queue;
        private readonly Thread pump;
        private int disposed;

        private Agent(IntPtr raw, int eventsCapacity)
        {
            handle = new AgentHandle(raw);
            NodeId = Call.Text(Native.agent_node_id(handle));
            Address = Call.Text(Native.agent_address(handle));
            queue = new BlockingCollection<MeshEvent>(eventsCapacity);
            pump = new Thread(Pump) { IsBackground = true, Name = "mesh-events" };
            pump.Start();
        }

        /// <summary>Starts an agent; up to <paramref name="eventsCapacity"/> events wait here and as
        /// many in the library, which then tells of what was lost by one Overflow.</summary>
        public static Agent Start(Options options, int eventsCapacity = 1024)
        {
            if (options == null) throw new ArgumentNullException("options");
            if (eventsCapacity < 1) throw new ArgumentOutOfRangeException("eventsCapacity");
            IntPtr agent, error;
            StartOptions start;
            Call.Check(Native.start_options_init(&start, (UIntPtr)sizeof(StartOptions)), IntPtr.Zero);
            start.EventsCapacity = (UIntPtr)eventsCapacity;
            Call.Check(Native.agent_start_with(options.Handle, &start, out agent, out error), error);
            return new Agent(agent, eventsCapacity);
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

        /// <summary>Takes the next event in order; false when none came in time, or none will come.</summary>
        public bool TryTakeEvent(out MeshEvent taken, TimeSpan timeout)
        {
            return queue.TryTake(out taken, timeout);
        }

        public void SetLabel(string key, string value)
        {
            IntPtr error;
            fixed (byte* k = Call.Utf8(key, "key"), v = Call.Utf8(value, "value"))
                Call.Check(Native.agent_set_label(handle, k, v, out error), error);
        }

        public void SetLifecycle(Lifecycle lifecycle)
        {
            IntPtr error;
            Call.Check(Native.agent_set_lifecycle(handle, (uint)lifecycle, out error), error);
        }

        public void Join(params string[] seeds)
        {
            var texts = new GCHandle[seeds.Length];
            var pointers = new IntPtr[seeds.Length + 1];
            try
            {
                for (int i = 0; i < seeds.Length; i++)
                {
                    texts[i] = GCHandle.Alloc(Call.Utf8(seeds[i], "seeds"), GCHandleType.Pinned);
                    pointers[i] = texts[i].AddrOfPinnedObject();
                }
                IntPtr error;
                fixed (IntPtr* list = pointers)
                    Call.Check(Native.agent_join(handle, list, (UIntPtr)seeds.Length, out error), error);
            }
            finally
            {
                foreach (var text in texts) if (text.IsAllocated) text.Free();
            }
        }

        public void ForceLeave(byte[] order)
        {
            IntPtr error;
            fixed (byte* data = order)
                Call.Check(Native.agent_force_leave(handle, data, (UIntPtr)order.Length, out error), error);
        }

        public void Reload()
        {
            IntPtr error;
            Call.Check(Native.agent_reload(handle, out error), error);
        }

        public void AddRevocationLists(byte[] lists)
        {
            IntPtr error;
            fixed (byte* data = lists)
                Call.Check(Native.agent_add_revocation_lists(handle, data, (UIntPtr)lists.Length, out error), error);
        }

        /// <summary>Puts these in place of certificate, key and trust: PEM, or a PKCS#12 store as the certificate with
        /// its password. No key where the certificate's content holds it; no trust keeps that in force.</summary>
        public void ReloadCertificates(byte[] certificate, byte[] key = null, byte[] ca = null, string password = null)
        {
            IntPtr error;
            fixed (byte* c = certificate, k = key, t = ca, p = Call.Utf8(password, "password"))
                Call.Check(Native.agent_reload_certificates(handle, c, Length(certificate), k, Length(key), t, Length(ca), p, out error), error);
        }

        /// <summary>Says something else of this member; null leaves what there is, labels stand in place of all.</summary>
        public void SetMetadata(string region = null, string meshVersion = null, string endpoint = null,
            bool? http3Support = null, IReadOnlyDictionary<string, string> labels = null)
        {
            var parts = new List<string>();
            if (region != null) parts.Add("\"region\":" + Call.Json(region));
            if (meshVersion != null) parts.Add("\"meshVersion\":" + Call.Json(meshVersion));
            if (endpoint != null) parts.Add("\"endpoint\":" + Call.Json(endpoint));
            if (http3Support != null) parts.Add("\"http3Support\":" + (http3Support.Value ? "true" : "false"));
            if (labels != null)
            {
                var pairs = new List<string>();
                foreach (var label in labels) pairs.Add(Call.Json(label.Key) + ":" + Call.Json(label.Value));
                parts.Add("\"labels\":{" + string.Join(",", pairs) + "}");
            }
            IntPtr error;
            fixed (byte* json = Call.Utf8("{" + string.Join(",", parts) + "}", "json"))
                Call.Check(Native.agent_set_metadata(handle, json, out error), error);
        }

        /// <summary>In place of what this member said before under the same topic and key, where that is on its way.</summary>
        public void BroadcastLatest(ushort topic, ulong key, byte[] content)
        {
            IntPtr error;
            fixed (byte* data = content)
                Call.Check(Native.agent_broadcast_latest(handle, topic, key, data, Length(content), out error), error);
        }

        public void Broadcast(ushort topic, byte[] content)
        {
            IntPtr error;
            fixed (byte* data = content)
                Call.Check(Native.agent_broadcast(handle, topic, data, (UIntPtr)content.Length, out error), error);
        }

        public void SendTo(MemberId id, ushort topic, byte[] content)
        {
            IntPtr error;
            fixed (byte* to = id.ToBytes(), data = content)
                Call.Check(Native.agent_send_to(handle, to, topic, data, (UIntPtr)content.Length, out error), error);
        }

        public string PeersJson(TimeSpan timeout)
        {
            IntPtr text, error;
            Call.Check(Native.agent_peers_json(handle, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        /// <summary>Leaders of a scope, or of all for null.</summary>
        public string LeadersJson(string scope, TimeSpan timeout)
        {
            IntPtr text, error;
            fixed (byte* s = Call.Utf8(scope, "scope"))
                Call.Check(Native.agent_leaders_json(handle, s, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        public string MetricsText(TimeSpan timeout)
        {
            IntPtr text, error;
            Call.Check(Native.agent_metrics_text(handle, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        public Health Health(TimeSpan timeout)
        {
            uint health;
            IntPtr error;
            Call.Check(Native.agent_health(handle, Ms(timeout), out health, out error), error);
            return (Health)health;
        }

        /// <summary>Our own exchanges with others, by member: of those with whom there were any.</summary>
        public IReadOnlyDictionary<MemberId, Contact> Contacts(TimeSpan timeout)
        {
            IntPtr contacts, error;
            Call.Check(Native.agent_contacts(handle, Ms(timeout), out contacts, out error), error);
            try
            {
                var found = new Dictionary<MemberId, Contact>();
                ulong count = (ulong)Native.contacts_len(contacts);
                for (ulong i = 0; i < count; i++)
                {
                    var record = (ContactRecord*)Native.contacts_at(contacts, (UIntPtr)i);
                    double? rtt = record->RttUs == 0 ? (double?)null : record->RttUs / 1000.0;
                    found[new MemberId(record->Id)] = new Contact(Time.FromUnixMs(record->LastUnixMs), rtt);
                }
                return found;
            }
            finally { Native.contacts_free(contacts); }
        }

        public void Leave(TimeSpan timeout)
        {
            IntPtr error;
            Call.Check(Native.agent_leave(handle, Ms(timeout), out error), error);
        }

        /// <summary>Stops without a goodbye; again, it does nothing. Events can still be taken.</summary>
        public void Stop()
        {
            IntPtr error;
            Call.Check(Native.agent_stop(handle, out error), error);
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0) return;
            closing.Cancel();
            IntPtr error;
            if (Native.agent_stop(handle, out error) != 0) Native.error_free(error);
            if (Thread.CurrentThread != pump) pump.Join();
            handle.Dispose();
        }

        // A full queue makes this thread wait, so that events are lost in one place only: the
        // library's queue, which counts them. Ended is the last event of all and ends the thread.
        private void Pump()
        {
            bool held = false;
            try
            {
                handle.DangerousAddRef(ref held);
                var descriptor = new PollDescriptor { Descriptor = Native.agent_events_fd(handle), Wanted = 1 };
                bool ended = descriptor.Descriptor < 0;
                while (!ended && !closing.IsCancellationRequested)
                {
                    // The time bounds how long a defect that says no Ended can hold up Dispose.
                    if (Native.poll(&descriptor, (UIntPtr)1, 500) > 0) ended = TakeBatch();
                }
            }
            catch (OperationCanceledException) { }
            catch (MeshGossipException) { }
            finally
            {
                queue.CompleteAdding();
                if (held) handle.DangerousRelease();
            }
        }

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
                    queue.Add(next, closing.Token);
                    if (next.Kind == EventKind.Ended) return true;
                }
                return false;
            }
            finally { Native.events_free(batch); }
        }

        private static UIntPtr Length(byte[] content) { return content == null ? UIntPtr.Zero : (UIntPtr)content.Length; }

        private static ulong Ms(TimeSpan timeout)
        {
            if (timeout < TimeSpan.Zero) throw new ArgumentOutOfRangeException("timeout");
            return (ulong)timeout.TotalMilliseconds;
        }
    }

    [Flags]
    public enum Health { None = 0, Joined = 1, Ready = 2, Draining = 4 }
}
