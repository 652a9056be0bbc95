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
    /// <summary>What a host gives its agent beside the options.</summary>
    public sealed class MeshGossipAgentServices
    {
        public MeshGossipAgentServices()
        {
            Additional = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            LogLevel = MeshGossip.LogLevel.Info;
            MeterName = "OmniRelay.Core.Gossip";
        }

        /// <summary>Takes the lines of the log with their event ids.</summary>
        public Action<LogEntry> Log { get; set; }
        public MeshGossip.LogLevel LogLevel { get; set; }
        /// <summary>The value of a secret by its name; null where the host has no store of secrets.</summary>
        public Func<string, string> Secrets { get; set; }
        /// <summary>Keys of the engine by their path below mesh:gossip, over the options.</summary>
        public IDictionary<string, string> Additional { get; private set; }
        /// <summary>The meter of the agent's metrics; null: none.</summary>
        public string MeterName { get; set; }
    }

    /// <summary>The engine behind OmniRelay's agent interface.</summary>
    public sealed class MeshGossipAgent : IMeshGossipAgent, IDisposable
#if NET7_0_OR_GREATER
        , IAsyncDisposable
#endif
    {
        private const string Schema = "v1";
        // Starting and stopping take their time, and one waits for the other; whoever looks waits for neither.
        private readonly object turn = new object();
        private readonly object gate = new object();
        private readonly MeshGossipOptions options;
        private readonly MeshGossipAgentServices services;
        private Agent agent;
        private View translated;
        private IReadOnlyDictionary<MemberId, Contact> contacts = new Dictionary<MemberId, Contact>();
        private readonly Stopwatch asked = new Stopwatch();
        private MeshGossipClusterView view;
        private MeshGossipMemberMetadata local;
#if NET7_0_OR_GREATER
        private AgentMeters meters;
#endif

        public MeshGossipAgent(MeshGossipOptions options, MeshGossipAgentServices services = null)
        {
            if (options == null) throw new ArgumentNullException("options");
            if (!Settings.HasCertificate(options.Tls))
                throw new InvalidOperationException("mesh:gossip:tls:certificatePath must be configured when gossip is enabled.");
            Settings.Validate(options);
            this.options = options;
            this.services = services ?? new MeshGossipAgentServices();
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

        /// <summary>Tells what the host knows of the work of a peer, in place of what it told before; null forgets it.</summary>
        public void ReportLeases(string nodeId, LeaseReport report) { Running().ReportLeases(nodeId, report); }

        /// <summary>Who may be given work, and what was reported of whom: the document of OmniRelay's lease health.</summary>
        public string LeaseHealthJson(TimeSpan timeout) { return Running().LeaseHealthJson(timeout); }

        /// <summary>Looks names up and binds, which is not for the caller's thread. What is cancelled before has not started.</summary>
        public Done StartAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return Of(Task.Run(new Action(Start), cancellationToken));
        }

        /// <summary>Stops in any case, which a host's last seconds depend on: a token that is cancelled takes only the
        /// goodbye's time away.</summary>
        public Done StopAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return Of(Task.Run(() => Stop(cancellationToken)));
        }

        public void Dispose() { Stop(CancellationToken.None); }

        public Done DisposeAsync() { return StopAsync(); }

        private static Done Of(Task task)
        {
#if NET7_0_OR_GREATER
            return new ValueTask(task);
#else
            return task;
#endif
        }

        private Agent Running()
        {
            lock (gate)
            {
                if (agent == null) throw new InvalidOperationException("The gossip agent has not been started.");
                return agent;
            }
        }

        private void Start()
        {
            lock (turn)
            {
                if (agent != null) return;
                Agent started;
                using (var native = Options.FromJson("{}"))
                {
                    foreach (var setting in Settings.Of(options, services.Secrets)) native.Set(setting.Key, setting.Value);
                    foreach (var setting in services.Additional) native.Set(setting.Key, setting.Value);
                    started = Agent.Start(native, new StartSettings { Log = services.Log, LogLevel = services.LogLevel });
                }
#if NET7_0_OR_GREATER
                if (services.MeterName != null) meters = new AgentMeters(started, services.MeterName);
#endif
                lock (gate) agent = started;
            }
        }

        private void Stop(CancellationToken cancel)
        {
            lock (turn)
            {
                Agent ending = agent;
                if (ending == null) return;
                lock (gate)
                {
                    Translate(ending.Snapshot());
                    agent = null;
                }
#if NET7_0_OR_GREATER
                if (meters != null) meters.Dispose();
                meters = null;
#endif
                try
                {
                    // A goodbye that nobody acknowledged in time is no reason to keep the host from ending.
                    if (!cancel.IsCancellationRequested) Goodbye(ending).Wait(cancel);
                }
                catch (OperationCanceledException) { }
                finally { ending.Dispose(); }
            }
        }

        // Once the agent is disposed of it ends with what became of it, which nobody asks.
        private static Task Goodbye(Agent ending)
        {
            return Task.Run(() =>
            {
                try { ending.Leave(TimeSpan.FromSeconds(5)); }
                catch (MeshGossipException) { }
                catch (ObjectDisposedException) { }
            });
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
                NodeId = options.NodeId, Role = options.Role, ClusterId = options.ClusterId, Region = options.Region,
                MeshVersion = options.MeshVersion, Http3Support = options.Http3Support,
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
    }

    /// <summary>Stands in where gossip is disabled: starts nothing and sees nobody.</summary>
    public sealed class NullMeshGossipAgent : IMeshGossipAgent
    {
        private readonly MeshGossipClusterView view;

        public NullMeshGossipAgent(MeshGossipOptions options)
        {
            if (options == null) throw new ArgumentNullException("options");
            LocalMetadata = MeshGossipAgent.Before(options);
            view = MeshGossipAgent.Empty(LocalMetadata.NodeId);
        }

        public MeshGossipMemberMetadata LocalMetadata { get; private set; }
        public bool IsEnabled { get { return false; } }
        public MeshGossipClusterView Snapshot() { return view; }

#if NET7_0_OR_GREATER
        public ValueTask StartAsync(CancellationToken cancellationToken = default(CancellationToken)) { return default(ValueTask); }
        public ValueTask StopAsync(CancellationToken cancellationToken = default(CancellationToken)) { return default(ValueTask); }
#else
        public Task StartAsync(CancellationToken cancellationToken = default(CancellationToken)) { return Task.FromResult(0); }
        public Task StopAsync(CancellationToken cancellationToken = default(CancellationToken)) { return Task.FromResult(0); }
#endif
    }
}
