// The stand-in for OmniRelay's agent, against the real library.
using System;
using System.IO;
using System.Linq;
using System.Threading;
using OmniRelay.Core.Gossip;

internal static class OmniRelayTests
{
    internal static MeshGossipOptions Options(string directory, string node)
    {
        var options = new MeshGossipOptions { NodeId = node, ClusterId = "prod", BindAddress = "127.0.0.1", AdvertiseHost = "127.0.0.1", Port = 0, Interval = TimeSpan.FromMilliseconds(500) };
        options.Additional["control:port"] = "0";
        options.Labels["rack"] = "r1";
        options.Tls.CertificatePath = Path.Combine(directory, "certs", node + ".pem");
        options.Tls.KeyPath = Path.Combine(directory, "certs", node + ".key");
        options.Tls.CaPath = Path.Combine(directory, "ca", "ca.pem");
        options.Tls.TrustDomain = "example.org";
        return options;
    }

    internal static void DropIn(string directory)
    {
        using (var first = Tests.Start("c", null))
        {
            var options = Options(directory, "b");
            options.SeedPeers.Add(first.Address);
            var agent = new MeshGossipAgent(options);
            agent.StopAsync().AsTask().Wait();
            Tests.True(agent.IsEnabled && agent.LocalMetadata.NodeId == "b" && agent.Snapshot().Members.Count() == 0, "before the start");
            agent.StartAsync().AsTask().Wait();
            agent.StartAsync().AsTask().Wait();
            var view = Wait(agent, 2);
            Tests.True(view.LocalNodeId == "b" && view.SchemaVersion == "v1", "the view's head");
            Tests.True(view.Members[0].NodeId == "b" && view.Members[1].NodeId == "c", "the local one comes first");
            Tests.True(view.Members[1].Status == MeshGossipMemberStatus.Alive && view.Members[1].LastSeen != null, "c is alive");
            for (int i = 0; agent.Snapshot().Members[1].RoundTripTimeMs == null; i++)
            {
                Tests.True(i < 4000, "a round-trip time is measured");
                Thread.Sleep(5);
            }
            Tests.True(ReferenceEquals(agent.Snapshot(), agent.Snapshot()) || ReferenceEquals(agent.Snapshot(), agent.Snapshot()), "it is cached");
            Tests.True(agent.LocalMetadata.Labels["rack"] == "r1" && agent.LocalMetadata.Endpoint.Length > 0, "what it says of itself");
            agent.StopAsync().AsTask().Wait();
            agent.StopAsync().AsTask().Wait();
            Tests.True(agent.Snapshot().Members.Count() == 2, "the last view stays");
            agent.StartAsync().AsTask().Wait();
            Tests.True(Wait(agent, 2).LocalNodeId == "b", "it starts again");
            agent.Dispose();
        }
    }

    internal static void WithoutCertificate()
    {
        try { new MeshGossipAgent(new MeshGossipOptions()); }
        catch (InvalidOperationException e)
        {
            Tests.True(e.Message == "mesh:gossip:tls:certificatePath must be configured when gossip is enabled.", e.Message);
            var none = new NullMeshGossipAgent(new MeshGossipOptions { Enabled = false, NodeId = "x" });
            none.StartAsync().AsTask().Wait();
            Tests.True(!none.IsEnabled && none.Snapshot().LocalNodeId == "x" && none.LocalMetadata.Role == "worker", "a null agent");
            return;
        }
        throw new Exception("started without a certificate");
    }

    private static MeshGossipOptions Certified()
    {
        var options = new MeshGossipOptions();
        options.Tls.CertificatePath = "/nowhere/a.pem";
        return options;
    }

    private static void Refused(string key, Action<MeshGossipOptions> spoil)
    {
        var options = Certified();
        spoil(options);
        try { new MeshGossipAgent(options); }
        catch (ArgumentException e)
        {
            Tests.True(e.ParamName == "options" && e.Message.StartsWith("mesh:gossip:" + key + " "), e.Message);
            return;
        }
        throw new Exception(key + " was taken");
    }

    internal static void Judged()
    {
        Refused("port", o => o.Port = 65536);
        Refused("advertisePort", o => o.AdvertisePort = 0);
        Refused("nodeId", o => o.NodeId = " ");
        Refused("interval", o => o.Interval = TimeSpan.Zero);
        Refused("fanout", o => o.Fanout = 0);
        Refused("fanoutCeiling", o => o.FanoutCeiling = 2);
        Refused("fanoutCoefficient", o => o.FanoutCoefficient = double.NaN);
        Refused("labels:rack", o => o.Labels["rack"] = null);
        Refused("seedPeers", o => o.SeedPeers.Add("a:1,b:1"));
        Refused("tls:reloadIntervalOverride", o => o.Tls.ReloadIntervalOverride = TimeSpan.FromSeconds(-1));
        Null("options", () => new MeshGossipAgent(null));
        Null("options", () => new NullMeshGossipAgent(null));
        Null("labels", () => new MeshGossipMemberMetadata().WithLabels(null));
        new MeshGossipAgent(Certified()).Dispose();
        // The engine's own judgement comes with the start.
        var unknown = Certified();
        unknown.Additional["fanuot"] = "4";
        try { new MeshGossipAgent(unknown).StartAsync().AsTask().Wait(); }
        catch (AggregateException e)
        {
            var why = (MeshGossip.MeshGossipException)e.InnerException;
            Tests.True(why.Code == MeshGossip.ErrorCode.Config && why.Field == "mesh:gossip:fanuot", why.Message);
            return;
        }
        throw new Exception("an unknown key was taken");
    }

    internal static void Null(string name, Action action)
    {
        try { action(); }
        catch (ArgumentNullException e)
        {
            Tests.True(e.ParamName == name, e.ParamName + " is " + name);
            return;
        }
        throw new Exception("null was taken for " + name);
    }

    // A secret counts as a certificate; its value comes from the host's store.
    internal static void Secrets()
    {
        string directory = Tests.Directory;
        var options = Options(directory, "b");
        string store = Convert.ToBase64String(File.ReadAllBytes(options.Tls.CertificatePath)) ;
        options.Tls.CertificatePath = null;
        options.Tls.CertificateDataSecret = "gossip-certificate";
        var asked = "";
        var services = new MeshGossipAgentServices { Secrets = name => { asked = name; return store; } };
        using (var agent = new MeshGossipAgent(options, services))
        {
            agent.StartAsync().AsTask().Wait();
            Tests.True(asked == "gossip-certificate" && agent.Snapshot().Members.Count() == 1, asked);
        }
        using (var agent = new MeshGossipAgent(options, new MeshGossipAgentServices { Secrets = name => null }))
        {
            try { agent.StartAsync().AsTask().Wait(); }
            catch (AggregateException e)
            {
                Tests.True(e.InnerException is InvalidOperationException && e.InnerException.Message.Contains("certificateDataSecret"), e.InnerException.Message);
                return;
            }
        }
        throw new Exception("a secret that is nowhere was found");
    }

    // A store of secrets that takes its time holds up the start, and no look at the view.
    internal static void SlowStart()
    {
        var options = Options(Tests.Directory, "b");
        options.Tls.CertificateDataSecret = "slow";
        string store = Convert.ToBase64String(File.ReadAllBytes(options.Tls.CertificatePath));
        options.Tls.CertificatePath = null;
        using (var asked = new ManualResetEventSlim())
        using (var answer = new ManualResetEventSlim())
        using (var agent = new MeshGossipAgent(options, new MeshGossipAgentServices { Secrets = name => { asked.Set(); answer.Wait(); return store; } }))
        {
            var start = agent.StartAsync().AsTask();
            asked.Wait();
            Tests.True(agent.Snapshot().Members.Count() == 0 && agent.LocalMetadata.NodeId == "b" && !start.IsCompleted, "a look does not wait");
            var stop = agent.StopAsync().AsTask();
            answer.Set();
            start.Wait();
            stop.Wait();
            agent.StopAsync().AsTask().Wait();
        }
    }

    internal static void CancelledStop()
    {
        using (var other = Tests.Start("c", null))
        {
            var options = Options(Tests.Directory, "b");
            options.SeedPeers.Add(other.Address);
            var agent = new MeshGossipAgent(options);
            var cancelled = new CancellationToken(true);
            Tests.True(agent.StartAsync(cancelled).AsTask().ContinueWith(t => t.IsCanceled).Result, "a start that is cancelled before does not begin");
            Tests.True(agent.Snapshot().Members.Count() == 0, "nothing was started");
            agent.StartAsync().AsTask().Wait();
            Wait(agent, 2);
            agent.StopAsync(cancelled).AsTask().Wait();
            try { agent.ReportLeases("b", null); }
            catch (InvalidOperationException)
            {
                // No goodbye was said: it is missed, and not left by its word.
                Tests.Until("the other misses it", () => !Tests.Sees(other, "b", MeshGossip.MemberStatus.Alive));
                return;
            }
        }
        throw new Exception("it still runs");
    }

    private static MeshGossipClusterView Wait(MeshGossipAgent agent, int members)
    {
        for (int i = 0; i < 4000; i++)
        {
            var view = agent.Snapshot();
            if (view.Members.Count() == members && view.Members[1].Status == MeshGossipMemberStatus.Alive) return view;
            Thread.Sleep(5);
        }
        throw new TimeoutException(members + " members");
    }
}

#if !NET7_0_OR_GREATER
// Start and stop are tasks here.
internal static class Tasks
{
    internal static System.Threading.Tasks.Task AsTask(this System.Threading.Tasks.Task task) { return task; }
}
#endif
