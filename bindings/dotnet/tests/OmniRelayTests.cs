// The stand-in for OmniRelay's agent, against the real library.
using System;
using System.IO;
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
            agent.StopAsync().Wait();
            Tests.True(agent.IsEnabled && agent.LocalMetadata.NodeId == "b" && agent.Snapshot().Members.Count == 0, "before the start");
            agent.StartAsync().Wait();
            agent.StartAsync().Wait();
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
            agent.StopAsync().Wait();
            agent.StopAsync().Wait();
            Tests.True(agent.Snapshot().Members.Count == 2, "the last view stays");
            agent.StartAsync().Wait();
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
            none.StartAsync().Wait();
            Tests.True(!none.IsEnabled && none.Snapshot().LocalNodeId == "x" && none.LocalMetadata.Role == "worker", "a null agent");
            return;
        }
        throw new Exception("started without a certificate");
    }

    private static MeshGossipClusterView Wait(MeshGossipAgent agent, int members)
    {
        for (int i = 0; i < 4000; i++)
        {
            var view = agent.Snapshot();
            if (view.Members.Count == members && view.Members[1].Status == MeshGossipMemberStatus.Alive) return view;
            Thread.Sleep(5);
        }
        throw new TimeoutException(members + " members");
    }
}
