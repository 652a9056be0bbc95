using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;
using MeshGossip;
#if NET7_0_OR_GREATER
using System.Collections.Immutable;
using Done = System.Threading.Tasks.ValueTask;
#else
using Done = System.Threading.Tasks.Task;
#endif

namespace OmniRelay.Core.Gossip
{
    /// <summary>The engine behind OmniRelay's agent interface.</summary>
    public sealed class MeshGossipAgent : IMeshGossipAgent, IDisposable
    {
        private const string Schema = "v1";
        private readonly object gate = new object();
        private readonly MeshGossipOptions options;
        private Agent agent;
        private View translated;
        private IReadOnlyDictionary<MemberId, Contact> contacts = new Dictionary<MemberId, Contact>();
        private readonly Stopwatch asked = new Stopwatch();
        private MeshGossipClusterView view;
        private MeshGossipMemberMetadata local;

        public MeshGossipAgent(MeshGossipOptions options)
        {
            if (options == null) throw new ArgumentNullException("options");
            if (!options.Tls.HasCertificate)
                throw new InvalidOperationException("mesh:gossip:tls:certificatePath must be configured when gossip is enabled.");
            this.options = options;
            local = Before(options);
            view = Empty(local.NodeId);
        }

        public bool IsEnabled { get { return true; } }

        public MeshGossipMemberMetadata LocalMetadata
        {
            get { Snapshot(); lock (gate) return local; }
        }

        /// <summary>The view, the same object until something changes or a second is over, since
        /// round-trip times change all the time; the last one after a stop.</summary>
        public MeshGossipClusterView Snapshot()
        {
            lock (gate)
            {
                if (agent != null) Translate(agent.Snapshot());
                return view;
            }
        }

        // Starting looks names up and stopping waits for a goodbye: neither on the caller's thread.
        public Done StartAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return new Work(Start, cancellationToken).Task;
        }

        public Done StopAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return new Work(Stop, cancellationToken).Task;
        }

        public void Dispose() { Stop(); }

        private void Start()
        {
            lock (gate)
            {
                if (agent != null) return;
                using (var native = Options.FromJson("{}"))
                {
                    foreach (var setting in options.Settings()) native.Set(setting.Key, setting.Value);
                    agent = Agent.Start(native);
                }
            }
        }

        private void Stop()
        {
            Agent ending;
            lock (gate)
            {
                if (agent == null) return;
                Translate(agent.Snapshot());
                ending = agent;
                agent = null;
            }
            // A goodbye that nobody acknowledged in time is no reason to keep the host from ending.
            try { ending.Leave(TimeSpan.FromSeconds(5)); }
            catch (MeshGossipException) { }
            finally { ending.Dispose(); }
        }

        private void Translate(View now)
        {
            bool same = ReferenceEquals(now, translated);
            if (same && asked.IsRunning && asked.Elapsed < TimeSpan.FromSeconds(1)) return;
            // A busy agent is asked again a second later; what is known of contacts stays.
            try { contacts = agent.Contacts(TimeSpan.FromMilliseconds(100)); }
            catch (MeshGossipException) { if (same) return; }
            finally { asked.Restart(); }
            var members = new List<MeshGossipMemberSnapshot>(now.Members.Count);
            string localNode = agent.NodeId;
            foreach (var member in now.Members)
            {
                var snapshot = Snapshot(member, now.GeneratedAt);
                if (member.IsLocal) local = snapshot.Metadata;
                members.Add(snapshot);
            }
            members.Sort((x, y) => x.NodeId == localNode ? (y.NodeId == localNode ? 0 : -1)
                : y.NodeId == localNode ? 1 : string.CompareOrdinal(x.NodeId, y.NodeId));
#if NET7_0_OR_GREATER
            view = new MeshGossipClusterView(now.GeneratedAt, members.ToImmutableArray(), localNode, Schema);
#else
            view = new MeshGossipClusterView(now.GeneratedAt, members.AsReadOnly(), localNode, Schema);
#endif
            translated = now;
        }

        private MeshGossipMemberSnapshot Snapshot(Member member, DateTimeOffset time)
        {
            Contact contact;
            contacts.TryGetValue(member.Id, out contact);
            var last = contact == null ? (DateTimeOffset?)null : contact.Last;
            return new MeshGossipMemberSnapshot
            {
                NodeId = member.NodeId,
                Status = member.Status == MemberStatus.Alive ? MeshGossipMemberStatus.Alive
                    : member.Status == MemberStatus.Suspect ? MeshGossipMemberStatus.Suspect : MeshGossipMemberStatus.Left,
                // Agreement on the living is continuous; of the others it is our own last contact.
                LastSeen = member.Status == MemberStatus.Alive ? time : last,
                RoundTripTimeMs = contact == null ? null : contact.RoundTripTimeMs,
                Metadata = new MeshGossipMemberMetadata
                {
                    NodeId = member.NodeId, Role = member.Role, ClusterId = member.ClusterId, Region = member.Region,
                    MeshVersion = member.MeshVersion, Http3Support = member.Http3Support,
                    MetadataVersion = (long)member.MetadataVersion, Endpoint = member.Endpoint, Labels = member.Labels
                }
            };
        }

        internal static MeshGossipMemberMetadata Before(MeshGossipOptions options)
        {
            return new MeshGossipMemberMetadata
            {
                NodeId = options.NodeId ?? "mesh-" + Environment.MachineName, Role = options.Role ?? "worker",
                ClusterId = options.ClusterId ?? "local", Region = options.Region ?? "local",
                MeshVersion = options.MeshVersion ?? "dev", Http3Support = options.Http3Support ?? true,
                Labels = new Dictionary<string, string>(options.Labels)
            };
        }

        internal static MeshGossipClusterView Empty(string nodeId)
        {
#if NET7_0_OR_GREATER
            return new MeshGossipClusterView(DateTimeOffset.UtcNow, ImmutableArray<MeshGossipMemberSnapshot>.Empty, nodeId, Schema);
#else
            return new MeshGossipClusterView(DateTimeOffset.UtcNow, new MeshGossipMemberSnapshot[0], nodeId, Schema);
#endif
        }

        private struct Work
        {
            internal readonly Done Task;

            internal Work(Action action, CancellationToken cancel)
            {
                var task = System.Threading.Tasks.Task.Run(action, cancel);
#if NET7_0_OR_GREATER
                Task = new ValueTask(task);
#else
                Task = task;
#endif
            }
        }
    }

    /// <summary>Stands in where gossip is disabled: starts nothing and sees nobody.</summary>
    public sealed class NullMeshGossipAgent : IMeshGossipAgent
    {
        private readonly MeshGossipClusterView view;

        public NullMeshGossipAgent(MeshGossipOptions options)
        {
            LocalMetadata = MeshGossipAgent.Before(options);
            view = MeshGossipAgent.Empty(LocalMetadata.NodeId);
        }

        public MeshGossipMemberMetadata LocalMetadata { get; private set; }
        public bool IsEnabled { get { return false; } }
        public MeshGossipClusterView Snapshot() { return view; }

#if NET7_0_OR_GREATER
        public ValueTask StartAsync(CancellationToken cancellationToken = default) { return default; }
        public ValueTask StopAsync(CancellationToken cancellationToken = default) { return default; }
#else
        public Task StartAsync(CancellationToken cancellationToken = default(CancellationToken)) { return Task.FromResult(0); }
        public Task StopAsync(CancellationToken cancellationToken = default(CancellationToken)) { return Task.FromResult(0); }
#endif
    }
}
