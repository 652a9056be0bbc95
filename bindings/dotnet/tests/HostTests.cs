// What a host does beside looking at members.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using MeshGossip;

internal static class HostTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    internal static void Nulls()
    {
        OmniRelayTests.Null("json", () => Options.FromJson(null));
        OmniRelayTests.Null("path", () => Options.FromFile(null));
        OmniRelayTests.Null("options", () => Agent.Start(null));
        OmniRelayTests.Null("text", () => MetricSample.Parse(null));
        OmniRelayTests.Null("leaseId", () => new Lease(1, 1, null));
        using (var options = Options.FromJson("{}"))
        {
            OmniRelayTests.Null("key", () => options.Set(null, "4"));
            OmniRelayTests.Null("settings", () => Agent.Start(options, null));
        }
        using (var a = Tests.Start("a", null))
        {
            OmniRelayTests.Null("key", () => a.SetLabel(null, "v"));
            OmniRelayTests.Null("seeds", () => a.Join(null));
            OmniRelayTests.Null("seeds", () => a.Join("127.0.0.1:1", null));
            OmniRelayTests.Null("order", () => a.ForceLeave(null));
            OmniRelayTests.Null("lists", () => a.AddRevocationLists(null));
            OmniRelayTests.Null("certificate", () => a.ReloadCertificates(null));
            OmniRelayTests.Null("content", () => a.Broadcast(1, null));
            OmniRelayTests.Null("content", () => a.BroadcastLatest(1, 1, null));
            OmniRelayTests.Null("content", () => a.SendTo(default(MemberId), 1, null));
            OmniRelayTests.Null("nodeId", () => a.ReportLeases(null, null));
            OmniRelayTests.Null("labels", () => a.SetMetadata(labels: new Dictionary<string, string> { { "k", null } }));
        }
    }

    private static void Refused(string field, Action<string> action)
    {
        foreach (var bad in new[] { "a\ud800", "\udc00b", "\ud800x" })
            Tests.True(Tests.Throws(ErrorCode.Utf8, () => action(bad)).Field == field, field);
        Tests.True(Tests.Throws(ErrorCode.Argument, () => action("a\0b")).Field == field, field);
    }

    // Numbers as they are said, whatever the host's culture puts for a minus.
    internal static void Cultures()
    {
        var culture = (System.Globalization.CultureInfo)System.Globalization.CultureInfo.InvariantCulture.Clone();
        culture.NumberFormat.NegativeSign = "\u2212";
        var before = Thread.CurrentThread.CurrentCulture;
        Thread.CurrentThread.CurrentCulture = culture;
        try
        {
            using (var a = Tests.Start("a", null))
            {
                var report = new LeaseReport();
                report.ActiveLeases.Add(new Lease(-7, 1, "l"));
                a.ReportLeases("queue", report);
                Tests.True(a.LeaseHealthJson(Patience).Contains("\"sequenceId\":-7"), "a sequence below zero");
                Tests.True(a.Metrics(Patience).Count > 0, "numbers are read");
            }
        }
        finally { Thread.CurrentThread.CurrentCulture = before; }
    }

    // Longer than a runtime can wait at once, and not at all.
    internal static void Waits()
    {
        using (var a = Tests.Start("a", null))
        {
            MeshEvent taken;
            a.SetLifecycle(Lifecycle.Cordoned);
            Tests.True(a.TryTakeEvent(out taken, TimeSpan.MaxValue), "an event comes");
            while (a.TryTakeEvent(out taken, TimeSpan.FromMilliseconds(200))) { }
            Tests.True(!a.TryTakeEvent(out taken, TimeSpan.Zero), "none is left");
            Tests.True(a.Health(TimeSpan.MaxValue) != Health.Draining, "an answer");
            a.Leave(TimeSpan.MaxValue);
        }
    }

    internal static void BadText()
    {
        Refused("json", text => Options.FromJson(text));
        Refused("path", text => Options.FromFile(text));
        using (var options = Options.FromJson("{}"))
        {
            Refused("key", text => options.Set(text, "4"));
            Refused("value", text => options.Set("region", text));
        }
        using (var a = Tests.Start("a", null))
        {
            Refused("key", text => a.SetLabel(text, "v"));
            Refused("value", text => a.SetLabel("k", text));
            Refused("seeds", text => a.Join(text));
            Refused("scope", text => a.LeadersJson(text, Patience));
            Refused("password", text => a.ReloadCertificates(new byte[1], password: text));
            Refused("region", text => a.SetMetadata(region: text));
            Refused("labels", text => a.SetMetadata(labels: new Dictionary<string, string> { { text, "v" } }));
            Refused("nodeId", text => a.ReportLeases(text, null));
            a.SetLabel("face", "\ud83d\ude00");
            Tests.True(a.Snapshot().Members[0].Labels["face"] == "\ud83d\ude00", "a whole pair is text");
        }
    }

    internal static void Log()
    {
        var entries = new List<LogEntry>();
        Func<int, LogEntry> of = id => { lock (entries) return entries.FirstOrDefault(e => e.EventId == id); };
        var settings = new StartSettings { Log = e => { lock (entries) entries.Add(e); throw new Exception("a host's defect"); } };
        using (var a = Tests.Start("a", null, settings))
        {
            using (var b = Tests.Start("b", a.Address))
            {
                Tests.Until("joined is logged", () => of(3) != null);
                b.Leave(TimeSpan.FromSeconds(5));
            }
            Tests.Until("left is logged", () => of(6) != null);
        }
        Tests.True(of(1) != null && of(1).Level == LogLevel.Info && of(1).Fields.ContainsKey("Port"), "listening");
        Tests.True(of(3).Fields["PeerId"] == "b" && of(3).Fields["Role"] == "worker" && of(3).Message.Length > 0, of(3).FieldsJson);
        Tests.True(of(6).Level == LogLevel.Warn && of(6).Fields["PeerId"] == "b", of(6).FieldsJson);
    }

    internal static void Awaited()
    {
        var a = Tests.Start("a", null);
        using (var cancel = new CancellationTokenSource())
        {
            var joined = Next(a, EventKind.Joined);
            using (Tests.Start("b", a.Address)) Tests.True(joined.Wait(Patience) && joined.Result.Member.NodeId == "b", "b joined");
            MeshEvent taken;
            while (a.TryTakeEvent(out taken, TimeSpan.FromSeconds(1))) { }
            var never = a.TakeEventAsync(cancel.Token);
            cancel.Cancel();
            Tests.True(never.ContinueWith(t => t.IsCanceled).Wait(Patience) && never.IsCanceled, "who waits can be let go");
            Tests.True(a.TakeEventAsync(cancel.Token).IsCanceled, "or need not begin");
            a.Stop();
            Tests.True(Next(a, EventKind.Ended).Wait(Patience), "the last one");
            Tests.True(a.TakeEventAsync().Wait(Patience) && a.TakeEventAsync().Result == null, "none will come");
        }
        Tests.True(a.DisposeAsync().AsTask().Wait(Patience), "it ends");
        a.Dispose();
    }

    // With a queue that is full, whose filler waits: what there is when an agent is disposed of can be taken, down to the end.
    internal static void Rest()
    {
        var a = Tests.Start("a", null, 1);
        using (var b = Tests.Start("b", a.Address))
        {
            Tests.Until("both see each other", () => Tests.Sees(b, "a", MemberStatus.Alive) && Tests.Sees(a, "b", MemberStatus.Alive));
            for (byte i = 0; i < 10; i++) b.Broadcast(9, new[] { i });
            Tests.Await(a, EventKind.Broadcast);
        }
        a.Dispose();
        MeshEvent taken, last = null;
        while (a.TryTakeEvent(out taken, Patience)) last = taken;
        Tests.True(last != null && last.Kind == EventKind.Ended, "the last one is " + (last == null ? "none" : last.Kind.ToString()));
    }

    private static async Task<MeshEvent> Next(Agent agent, EventKind kind)
    {
        MeshEvent taken;
        while ((taken = await agent.TakeEventAsync()) != null)
            if (taken.Kind == kind) return taken;
        throw new TimeoutException("no event " + kind);
    }

    internal static void Metrics()
    {
        var samples = MetricSample.Parse("# HELP x_ms How long.\n# TYPE x_ms histogram\nx_ms_bucket{le=\"+Inf\",a=\"q\\\"\\\\\\n\"} 3\n"
            + "x_ms_sum 1.5\nx_ms_count 3\n# TYPE y_total counter\ny_total{k=\"v\"} 7 1700000000\nz -Inf\n");
        Tests.True(samples.Count == 5 && samples.Take(3).All(s => s.Family == "x_ms" && s.Kind == MetricKind.Histogram && s.Help == "How long."), "a family");
        Tests.True(samples[0].Labels["a"] == "q\"\\\n" && samples[0].Labels["le"] == "+Inf" && samples[0].Value == 3, "labels");
        Tests.True(samples[3].Name == "y_total" && samples[3].Kind == MetricKind.Counter && samples[3].Value == 7, "a counter with a time");
        Tests.True(samples[4].Value == double.NegativeInfinity && samples[4].Kind == MetricKind.Untyped, "without a type");
        using (var a = Tests.Start("a", null))
        {
            var alive = a.Metrics(Patience).Single(s => s.Name == "mesh_gossip_members" && s.Labels["mesh_status"] == "alive");
            Tests.True(alive.Value == 1 && alive.Kind == MetricKind.Gauge, "one is alive");
        }
    }

    internal static void Leases()
    {
        using (var a = Tests.Start("a", null))
        {
            var report = new LeaseReport { ActiveAssignments = 2, PendingReassignments = 1 };
            report.ActiveLeases.Add(new Lease(-7, 3, "l-\"7\""));
            a.ReportLeases("queue-9", report);
            string said = a.LeaseHealthJson(Patience);
            Tests.True(said.Contains("\"peerId\":\"queue-9\"") && said.Contains("\"leaseId\":\"l-\\\"7\\\"\"") && said.Contains("\"sequenceId\":-7"), said);
            a.ReportLeases("queue-9", null);
            Tests.True(!a.LeaseHealthJson(Patience).Contains("queue-9"), "it is forgotten");
            report.ActiveLeases.Add(new Lease(1, 1, new string('l', 2000)));
            Tests.True(Tests.Throws(ErrorCode.TooLarge, () => a.ReportLeases("queue-9", report)).Field == "leaseId", "too long");
        }
    }

    // On a thread of its own, whose stack is gone afterwards.
    private static WeakReference Lose(out string address)
    {
        WeakReference lost = null;
        string at = null;
        var thread = new Thread(() => Begin(out lost, out at));
        thread.Start();
        thread.Join();
        address = at;
        return lost;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Begin(out WeakReference lost, out string address)
    {
        var agent = Tests.Start("a", null);
        agent.Snapshot();
        address = agent.Address;
        lost = new WeakReference(agent);
    }

    // Its port is free again, although nobody disposed of it.
    internal static void Forgotten()
    {
        string address;
        var lost = Lose(out address);
        string port = address.Substring(address.LastIndexOf(':') + 1);
        Tests.True(Tests.Throws(ErrorCode.Io, () => Tests.Start("b", null, new StartSettings(), null, port)) != null, "the port is taken");
        Tests.Until("it is collected", () =>
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return !lost.IsAlive;
        });
        Tests.Until("its port is free", () =>
        {
            try { Tests.Start("b", null, new StartSettings(), null, port).Dispose(); }
            catch (MeshGossipException) { return false; }
            return true;
        });
    }
}
