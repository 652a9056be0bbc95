#if NET7_0_OR_GREATER
using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using System.Linq;
using System.Threading;

namespace MeshGossip
{
    /// <summary>The agent's metrics as instruments of System.Diagnostics.Metrics, under their own names; labels that
    /// begin with "mesh_" are tags that begin with "mesh.". A metric that appears later has an instrument a little
    /// later. It holds the agent by a weak reference: meters keep no agent running.</summary>
    public sealed class AgentMeters : IDisposable
    {
        public const string DefaultName = "MeshGossip";

        private const string Members = "mesh_gossip_members";
        private const string RoundTrip = "mesh_gossip_rtt_ms";
        // Above so many members one time series for each costs more than it tells.
        private const int MostPeers = 100;
        private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(1);
        private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

        private readonly object gate = new object();
        private readonly WeakReference<Agent> agent;
        private readonly Meter meter;
        private readonly Histogram<double> roundTrip;
        private readonly Dictionary<string, bool> known = new Dictionary<string, bool>(StringComparer.Ordinal);
        private readonly Dictionary<MemberId, DateTimeOffset> recorded = new Dictionary<MemberId, DateTimeOffset>();
        private readonly System.Diagnostics.Stopwatch age = new System.Diagnostics.Stopwatch();
        private ILookup<string, MetricSample> samples = Enumerable.Empty<MetricSample>().ToLookup(s => s.Name);

        public AgentMeters(Agent agent, string meterName = DefaultName)
        {
            if (agent == null) throw new ArgumentNullException("agent");
            if (string.IsNullOrEmpty(meterName)) throw new ArgumentException("a name is expected", "meterName");
            this.agent = new WeakReference<Agent>(agent);
            meter = new Meter(meterName, Runtime.Version);
            roundTrip = meter.CreateHistogram<double>(RoundTrip, "ms", "Round-trip times to other members.");
            meter.CreateObservableUpDownCounter<long>(Members, Count, "peers", "Members by status.");
            known.Add(Members, true);
            Add(Read());
        }

        public void Dispose() { meter.Dispose(); }

        private IEnumerable<Measurement<long>> Count()
        {
            Agent live;
            if (!agent.TryGetTarget(out live)) return Enumerable.Empty<Measurement<long>>();
            try
            {
                var members = live.Snapshot().Members;
                Func<string, Func<Member, bool>, Measurement<long>> of = (status, which) =>
                    new Measurement<long>(members.Count(which), new KeyValuePair<string, object>("mesh.status", status));
                return new[]
                {
                    of("alive", m => m.Status == MemberStatus.Alive),
                    of("suspect", m => m.Status == MemberStatus.Suspect),
                    of("left", m => m.Status != MemberStatus.Alive && m.Status != MemberStatus.Suspect)
                };
            }
            catch (MeshGossipException) { return Enumerable.Empty<Measurement<long>>(); }
            catch (ObjectDisposedException) { return Enumerable.Empty<Measurement<long>>(); }
        }

        // Asked for each instrument in turn, so the agent is asked once a second at most.
        private ILookup<string, MetricSample> Read()
        {
            lock (gate)
            {
                Agent live;
                if (age.IsRunning && age.Elapsed < Fresh || !agent.TryGetTarget(out live)) return samples;
                age.Restart();
                try
                {
                    samples = live.Metrics(Patience).Where(s => s.Family != RoundTrip && !s.Name.EndsWith("_bucket", StringComparison.Ordinal))
                        .ToLookup(s => s.Name);
                    Record(live);
                }
                catch (MeshGossipException) { }
                catch (ObjectDisposedException) { }
                return samples;
            }
        }

        // A time is recorded once for each exchange that it can be of.
        private void Record(Agent live)
        {
            var view = live.Snapshot();
            foreach (var contact in live.Contacts(Patience))
            {
                DateTimeOffset last;
                if (contact.Value.RoundTripTimeMs == null) continue;
                if (recorded.TryGetValue(contact.Key, out last) && last >= contact.Value.Last) continue;
                recorded[contact.Key] = contact.Value.Last;
                var member = view.Members.Count > MostPeers ? null : view.Members.FirstOrDefault(m => m.Id.Equals(contact.Key));
                if (member == null) roundTrip.Record(contact.Value.RoundTripTimeMs.Value);
                else roundTrip.Record(contact.Value.RoundTripTimeMs.Value, new KeyValuePair<string, object>("mesh.peer", member.NodeId));
            }
        }

        private void Add(ILookup<string, MetricSample> found)
        {
            foreach (var group in found)
            {
                lock (gate)
                {
                    if (known.ContainsKey(group.Key)) continue;
                    known.Add(group.Key, true);
                }
                string name = group.Key;
                var first = group.First();
                bool counts = first.Kind == MetricKind.Counter || first.Kind == MetricKind.Histogram;
                if (counts) meter.CreateObservableCounter<double>(name, () => Observe(name), null, first.Help);
                else meter.CreateObservableGauge<double>(name, () => Observe(name), null, first.Help);
            }
        }

        private IEnumerable<Measurement<double>> Observe(string name)
        {
            var found = Read();
            // Not within a collection: an instrument that is made there would be asked at once.
            if (found.Any(group => !Knows(group.Key))) ThreadPool.QueueUserWorkItem(_ => Add(found));
            return found[name].Select(s => new Measurement<double>(s.Value, s.Labels.Select(l =>
                new KeyValuePair<string, object>(l.Key.StartsWith("mesh_", StringComparison.Ordinal) ? "mesh." + l.Key.Substring(5) : l.Key, l.Value)))).ToArray();
        }

        private bool Knows(string name) { lock (gate) return known.ContainsKey(name); }
    }
}
#endif
