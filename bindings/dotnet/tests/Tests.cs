// Against the real library: argument 1 is a directory of node settings a.json, b.json, c.json, argument 2 a part of the
// names of the tests to run.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Threading;
using MeshGossip;

internal static class Tests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private static string directory, chosen;
    private static int failures;

    internal static string Directory { get { return directory; } }

    private static int Main(string[] args)
    {
        directory = args[0];
        chosen = args.Length > 1 ? args[1] : null;
        Run("load check", LoadCheck);
        Run("bad options tell code and field", BadOptions);
        Run("three agents meet, change and lose one", ThreeAgents);
        Run("events come in order and end", EventOrder);
        Run("a view outlives its agent; stop twice", ViewOutlivesAgent);
        Run("events that nobody takes are lost with a count", Overflow);
        Run("null arguments are named", HostTests.Nulls);
        Run("text that is no UTF-8, or holds a zero, is refused by its field", HostTests.BadText);
        Run("numbers are said in any culture", HostTests.Cultures);
        Run("waits are as long as one likes", HostTests.Waits);
        Run("the log comes with event ids", HostTests.Log);
        Run("events can be awaited", HostTests.Awaited);
        Run("what waits at the end can be taken", HostTests.Rest);
        Run("metrics are read one by one", HostTests.Metrics);
        Run("leases are reported and shown", HostTests.Leases);
        Run("an agent that is forgotten is stopped", HostTests.Forgotten);
#if NET7_0_OR_GREATER
        Run(".NET: a channel of events ends with the agent", NetTests.ChannelOfEvents);
        Run(".NET: meters show the metrics", NetTests.Meters);
        Run(".NET: the contract's JSON", NetTests.Json);
        Run(".NET: a host's container", NetTests.Container);
#endif
        Run("OmniRelay: options are judged", OmniRelayTests.Judged);
        Run("OmniRelay: secrets", OmniRelayTests.Secrets);
        Run("OmniRelay: a cancelled stop stops", OmniRelayTests.CancelledStop);
        Run("OmniRelay: nobody waits for a start", OmniRelayTests.SlowStart);
        Run("OmniRelay: a drop-in agent", () => OmniRelayTests.DropIn(directory));
        Run("OmniRelay: no certificate, disabled", OmniRelayTests.WithoutCertificate);
        Console.WriteLine(failures == 0 ? "all is well" : failures + " failed");
        return failures == 0 ? 0 : 1;
    }

    private static void Run(string name, Action test)
    {
        if (chosen != null && name.IndexOf(chosen, StringComparison.OrdinalIgnoreCase) < 0) return;
        Exception failure = null;
        var thread = new Thread(() => { try { test(); } catch (Exception e) { failure = e; } }) { IsBackground = true };
        thread.Start();
        if (!thread.Join(TimeSpan.FromSeconds(60))) failure = new TimeoutException("60 s were not enough");
        if (failure != null) failures++;
        Console.WriteLine((failure == null ? "ok   " : "FAIL ") + name + (failure == null ? "" : ": " + failure));
    }

    internal static void True(bool holds, string what)
    {
        if (!holds) throw new Exception("does not hold: " + what);
    }

    internal static TimeSpan Until(string what, Func<bool> holds)
    {
        var clock = Stopwatch.StartNew();
        while (!holds())
        {
            if (clock.Elapsed > TimeSpan.FromSeconds(40)) throw new TimeoutException(what);
            Thread.Sleep(5);
        }
        Console.WriteLine("     " + what + " after " + clock.ElapsedMilliseconds + " ms");
        return clock.Elapsed;
    }

    internal static MeshGossipException Throws(ErrorCode code, Action action)
    {
        try { action(); }
        catch (MeshGossipException e)
        {
            True(e.Code == code, e.Code + " is " + code + ": " + e.Message);
            return e;
        }
        throw new Exception("nothing was thrown, wanted " + code);
    }

    internal static Agent Start(string node, string seed, int capacity = 1024, string limit = null)
    {
        return Start(node, seed, new StartSettings { EventsCapacity = capacity }, limit, "0");
    }

    internal static Agent Start(string node, string seed, StartSettings settings, string limit = null, string port = "0")
    {
        using (var options = Options.FromFile(Path.Combine(directory, node + ".json")))
        {
            options.Set("bindAddress", "127.0.0.1").Set("advertiseHost", "127.0.0.1").Set("port", port).Set("control:port", "0");
            if (seed != null) options.Set("seedPeers", seed);
            if (limit != null) options.Set("limits:events", limit);
            return Agent.Start(options, settings);
        }
    }

    internal static bool Sees(Agent agent, string node, MemberStatus status)
    {
        var member = agent.Snapshot().Find(node);
        return member != null && member.Status == status;
    }

    private static void LoadCheck()
    {
        Runtime.Check();
        True(Runtime.Version.Length > 0, "a version");
    }

    private static void BadOptions()
    {
        var error = Throws(ErrorCode.Config, () => Options.FromJson("{\"mesh\":{\"gossip\":{\"fanuot\":4}}}"));
        True(error.Field == "mesh:gossip:fanuot" && error.Message.Contains("fanout"), error.Field + " " + error.Message);
        Throws(ErrorCode.Argument, () => Options.FromJson("{}\0"));
        using (var options = Options.FromFile(Path.Combine(directory, "a.json")))
            Throws(ErrorCode.Config, () => options.Set("interval", "5"));
    }

    private static void ThreeAgents()
    {
        using (var a = Start("a", null))
        using (var b = Start("b", a.Address))
        {
            var c = Start("c", a.Address);
            try
            {
                var all = new[] { a, b, c };
                Until("three see three", () => Array.TrueForAll(all, x => Array.TrueForAll(new[] { "a", "b", "c" }, n => Sees(x, n, MemberStatus.Alive))));
                var view = a.Snapshot();
                True(ReferenceEquals(view, a.Snapshot()) || view.Generation != a.Snapshot().Generation, "a view is cached");
                a.SetLabel("rack", "r7");
                Until("others see the label", () => b.Snapshot().Find("a").Labels.ContainsKey("rack") && c.Snapshot().Find("a").Labels.ContainsKey("rack"));
                True(b.Snapshot().Find("a").Labels["rack"] == "r7", "the value");
                True(!view.Find("a").Labels.ContainsKey("rack"), "an old view stays as it was");
                a.SetLifecycle(Lifecycle.Draining);
                Until("others see it drain", () => b.Snapshot().Find("a").Lifecycle == Lifecycle.Draining);
                a.SetLifecycle(Lifecycle.Active);
                True((b.Health(Second) & Health.Joined) != 0, "b has joined");
                True(a.PeersJson(Second).Contains("\"localNodeId\""), "peers");
                True(a.LeadersJson(null, Second).Contains("tokens"), "leaders");
                True(a.MetricsText(Second).Contains("mesh_gossip_members"), "metrics");
                a.SendTo(b.Snapshot().LocalId, 7, new byte[] { 0, 255 });
                var said = Await(b, EventKind.Message);
                True(said.Topic == 7 && said.Payload.Length == 2 && said.Payload[1] == 255, "the message");
                a.Broadcast(8, new byte[] { 1 });
                True(Await(b, EventKind.Broadcast).Topic == 8, "the broadcast");
            }
            finally { c.Dispose(); }
            Until("the dead one is gone", () => !Sees(a, "c", MemberStatus.Alive) && !Sees(a, "c", MemberStatus.Suspect)
                && !Sees(b, "c", MemberStatus.Alive) && !Sees(b, "c", MemberStatus.Suspect));
            b.Leave(TimeSpan.FromSeconds(5));
            Until("the other left by its word", () => Sees(a, "b", MemberStatus.Left));
        }
    }

    internal static MeshEvent Await(Agent agent, EventKind kind)
    {
        MeshEvent taken;
        while (agent.TryTakeEvent(out taken, TimeSpan.FromSeconds(20)))
            if (taken.Kind == kind) return taken;
        throw new TimeoutException("no event " + kind);
    }

    private static void EventOrder()
    {
        using (var a = Start("a", null))
        {
            using (var b = Start("b", a.Address))
            {
                True(Await(a, EventKind.Joined).Member.NodeId == "b", "b joined");
                b.Leave(TimeSpan.FromSeconds(5));
            }
            var left = Await(a, EventKind.Left);
            True(left.Reason == LeftReason.Left && left.Member.NodeId == "b", "b left");
            a.Stop();
            Await(a, EventKind.Ended);
            MeshEvent none;
            True(!a.TryTakeEvent(out none, Second), "nothing after the end");
        }
    }

    private static void ViewOutlivesAgent()
    {
        var a = Start("a", null);
        var view = a.Snapshot();
        a.Stop();
        a.Stop();
        Throws(ErrorCode.Stopped, () => a.SetLabel("x", "y"));
        a.Dispose();
        a.Dispose();
        GC.Collect();
        True(view.Members.Count == 1 && view.Members[0].NodeId == "a" && view.Members[0].IsLocal, "the view");
        try { a.Snapshot(); }
        catch (ObjectDisposedException) { return; }
        throw new Exception("a disposed agent answered");
    }

    // What was lost is told once there is room, although nothing else happens.
    private static void Overflow()
    {
        using (var a = Start("a", null, 1, "16"))
        using (var b = Start("b", a.Address))
        {
            Until("b sees a", () => Sees(b, "a", MemberStatus.Alive) && Sees(a, "b", MemberStatus.Alive));
            // More than the queues of engine, library and binding hold; other hosts' words have a queue of their own.
            for (int i = 0; i < 100; i++)
            {
                b.Broadcast(9, new[] { (byte)i });
                Thread.Sleep(20);
            }
            var taken = new List<byte>();
            ulong missed = 0;
            MeshEvent next;
            // Another look, as one that was lost late is told by itself.
            while (a.TryTakeEvent(out next, missed == 0 ? TimeSpan.FromSeconds(30) : Second))
            {
                if (next.Kind == EventKind.Missed) missed += next.Count;
                if (next.Kind != EventKind.Broadcast) continue;
                // Gossip promises each once, in any order.
                True(!taken.Contains(next.Payload[0]), "each comes once");
                taken.Add(next.Payload[0]);
            }
            True(missed > 0, "some were lost");
            True((ulong)taken.Count + missed == 100, taken.Count + " taken and " + missed + " told as missed are all");
            Console.WriteLine("     " + taken.Count + " of 100 taken, " + missed + " told as missed");
        }
    }
}
