// What older class libraries do not have: run on the real .NET.
#if NET7_0_OR_GREATER
using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using System.IO;
using System.Linq;
using System.Text.Json;
using System.Threading;
using System.Threading.Channels;
using System.Threading.Tasks;
using MeshGossip;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OmniRelay.Core.Gossip;

internal static class NetTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    internal static void ChannelOfEvents()
    {
        var a = Tests.Start("a", null);
        var kinds = Kinds(a.Events);
        using (var b = Tests.Start("b", a.Address)) Tests.Until("b is seen", () => Tests.Sees(a, "b", MemberStatus.Alive));
        Tests.True(!a.Events.Completion.IsCompleted, "it goes on");
        a.DisposeAsync().AsTask().Wait();
        Tests.True(kinds.Wait(Patience), "reading ends with the agent");
        Tests.True(kinds.Result.Contains(EventKind.Joined) && kinds.Result.Last() == EventKind.Ended, string.Join(" ", kinds.Result));
        Tests.True(a.Events.Completion.Wait(Patience), "it is complete");
        MeshEvent none;
        Tests.True(!a.Events.TryRead(out none) && !a.Events.WaitToReadAsync().AsTask().Result, "and stays so");
    }

    private static async Task<List<EventKind>> Kinds(ChannelReader<MeshEvent> events)
    {
        var kinds = new List<EventKind>();
        while (await events.WaitToReadAsync())
        {
            MeshEvent next;
            while (events.TryRead(out next)) kinds.Add(next.Kind);
        }
        return kinds;
    }

    internal static void Meters()
    {
        var seen = new Dictionary<string, double>();
        using (var a = Tests.Start("a", null))
        using (var b = Tests.Start("b", a.Address))
        using (new AgentMeters(a, "tests"))
        using (var listener = new MeterListener())
        {
            listener.InstrumentPublished = (instrument, self) => { if (instrument.Meter.Name == "tests") self.EnableMeasurementEvents(instrument); };
            listener.SetMeasurementEventCallback<long>((i, value, tags, state) => Note(seen, i.Name, value, tags.ToArray()));
            listener.SetMeasurementEventCallback<double>((i, value, tags, state) => Note(seen, i.Name, value, tags.ToArray()));
            listener.Start();
            Func<string, bool> has = name => { lock (seen) return seen.ContainsKey(name); };
            Tests.Until("both are counted, and heard of each other", () =>
            {
                listener.RecordObservableInstruments();
                double alive;
                lock (seen) return seen.TryGetValue("mesh_gossip_members mesh.status=alive", out alive) && alive == 2
                    && seen.ContainsKey("mesh_gossip_rtt_ms mesh.peer=b")
                    && seen.ContainsKey("mesh_gossip_messages_total mesh.direction=inbound mesh.outcome=success");
            });
            Tests.True(has("mesh_gossip_members mesh.status=suspect") && has("mesh_gossip_members mesh.status=left"), "all of the statuses");
            Tests.True(seen["mesh_gossip_rtt_ms mesh.peer=b"] > 0 && seen.Count > 20, string.Join("\n", seen.Keys));
            a.Stop();
            lock (seen) seen.Clear();
            listener.RecordObservableInstruments();
            Tests.True(has("mesh_gossip_members mesh.status=alive"), "the last view stays");
        }
    }

    private static void Note(Dictionary<string, double> seen, string name, double value, KeyValuePair<string, object>[] tags)
    {
        string full = name + string.Concat(tags.OrderBy(t => t.Key, StringComparer.Ordinal).Select(t => " " + t.Key + "=" + t.Value));
        lock (seen) seen[full] = value;
    }

    internal static void Json()
    {
        var member = new MeshGossipMemberSnapshot
        {
            NodeId = "a", Status = MeshGossipMemberStatus.Suspect, RoundTripTimeMs = 1.5,
            Metadata = new MeshGossipMemberMetadata { NodeId = "a", Labels = new Dictionary<string, string> { { "Rack", "r" } } }
        };
        string json = JsonSerializer.Serialize(member);
        string wanted = "{\"nodeId\":\"a\",\"status\":\"Suspect\",\"lastSeen\":null,\"rttMs\":1.5,\"metadata\":{\"nodeId\":\"a\",\"role\":\"\","
            + "\"clusterId\":\"\",\"region\":\"\",\"meshVersion\":\"\",\"http3Support\":true,\"metadataVersion\":1,\"labels\":{\"Rack\":\"r\"},\"endpoint\":null}}";
        Tests.True(json == wanted, json);
        Tests.True(JsonSerializer.Deserialize<MeshGossipMemberSnapshot>(json).Status == MeshGossipMemberStatus.Suspect, "and back");
    }

    private sealed class Logs : ILoggerFactory, ILogger
    {
        internal readonly List<string> Lines = new List<string>();

        public ILogger CreateLogger(string categoryName) { return this; }
        public bool IsEnabled(Microsoft.Extensions.Logging.LogLevel level) { return true; }
        public IDisposable BeginScope<TState>(TState state) { return null; }
        public void AddProvider(ILoggerProvider provider) { throw new NotSupportedException(); }
        public void Dispose() { }

        public void Log<TState>(Microsoft.Extensions.Logging.LogLevel level, EventId id, TState state, Exception failure, Func<TState, Exception, string> formatter)
        {
            var fields = ((IEnumerable<KeyValuePair<string, object>>)state).Where(f => f.Key == "PeerId").Select(f => " " + f.Value);
            lock (Lines) Lines.Add(level + " " + id.Id + " " + id.Name + string.Concat(fields) + (formatter(state, failure).Length > 0 ? "" : " nothing"));
        }
    }

    internal static void Container()
    {
        var made = OmniRelayTests.Options(Tests.Directory, "b");
        using (var other = Tests.Start("c", null))
        {
            var settings = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase)
            {
                { "Logging:LogLevel", "Information" }, { "mesh:gossip:NodeId", "b" }, { "mesh:gossip:clusterId", "prod" },
                { "mesh:gossip:bindAddress", "127.0.0.1" }, { "mesh:gossip:advertiseHost", "127.0.0.1" }, { "mesh:gossip:port", "0" },
                { "mesh:gossip:interval", "500ms" }, { "mesh:gossip:pingTimeout", "00:00:01.5" }, { "mesh:gossip:control:port", "0" },
                { "mesh:gossip:labels:rack", "r1" }, { "mesh:gossip:seedPeers:0", other.Address },
                { "mesh:gossip:tls:certificatePath", made.Tls.CertificatePath }, { "mesh:gossip:tls:keyPath", made.Tls.KeyPath },
                { "mesh:gossip:tls:caPath", made.Tls.CaPath }, { "mesh:gossip:tls:trustDomain", "example.org" },
            };
            var logs = new Logs();
            var services = new ServiceCollection();
            services.AddSingleton<ILoggerFactory>(provider => logs);
            services.AddMeshGossipAgent(new MemoryConfiguration(settings));
            services.AddMeshGossipAgent(new MemoryConfiguration(settings).GetSection("mesh:gossip"));
            var container = new Container(services);
            var agent = container.GetRequiredService<IMeshGossipAgent>();
            Tests.True(agent.IsEnabled && ReferenceEquals(agent, container.GetRequiredService<IMeshMembershipSnapshotProvider>()), "one agent");
            Tests.True(container.All(typeof(IHostedService)).Count() == 1, "one service");
            var options = container.GetRequiredService<Microsoft.Extensions.Options.IOptions<MeshGossipOptions>>().Value;
            Tests.True(options.PingTimeout == TimeSpan.FromSeconds(1.5) && options.Port == 0 && options.Interval == TimeSpan.FromSeconds(1), "what .NET can read is in the options");
            var hosted = container.GetRequiredService<IHostedService>();
            hosted.StartAsync(CancellationToken.None).Wait();
            Tests.Until("the other is seen", () => agent.Snapshot().Members.Length == 2);
            Tests.True(agent.LocalMetadata.Labels["rack"] == "r1", "the labels");
            var view = agent.Snapshot();
            Tests.Until("it is one view as long as nothing changes", () => ReferenceEquals(agent.Snapshot(), view) || ReferenceEquals(view = agent.Snapshot(), agent.Snapshot()));
            Tests.Until("log lines have ids and fields", () => { lock (logs.Lines) return logs.Lines.Contains("Information 3 PeerJoined c"); });
            hosted.StopAsync(new CancellationToken(true)).Wait();
            Tests.True(logs.Lines.Any(l => l.StartsWith("Information 1 Listening")), string.Join("\n", logs.Lines));
        }
        var disabled = new ServiceCollection();
        disabled.AddMeshGossipAgent(o => { o.Enabled = false; o.NodeId = "x"; });
        Tests.True(!new Container(disabled).GetRequiredService<IMeshGossipAgent>().IsEnabled, "a null agent");
        OmniRelayTests.Null("configuration", () => new ServiceCollection().AddMeshGossipAgent((IConfiguration)null));
        OmniRelayTests.Null("services", () => ((IServiceCollection)null).AddMeshGossipAgent(new MemoryConfiguration(new Dictionary<string, string>())));
        var wrong = new ServiceCollection();
        wrong.AddMeshGossipAgent(new MemoryConfiguration(new Dictionary<string, string> { { "mesh:gossip:interval", "5" }, { "mesh:gossip:tls:certificatePath", "/nowhere" } }));
        try { new Container(wrong).GetRequiredService<IMeshGossipAgent>().StartAsync().AsTask().Wait(); }
        catch (AggregateException e)
        {
            Tests.True(((MeshGossipException)e.InnerException).Field == "mesh:gossip:interval", e.Message);
            return;
        }
        throw new Exception("five days were taken");
    }
}
#endif
