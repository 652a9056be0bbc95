// Joins a mesh and tells what happens in it, until a line is entered: Join mesh.json [seed...]
using System;
using System.Linq;
using System.Threading;
using MeshGossip;

internal static class Program
{
    private static void Main(string[] args)
    {
        using (var options = Options.FromFile(args[0]).Set("seedPeers", args.Length > 1 ? string.Join(",", args.Skip(1)) : null))
        using (var agent = Agent.Start(options))
        {
            Console.WriteLine(agent.NodeId + " listens on " + agent.Address);
            new Thread(() => { Console.ReadLine(); agent.Leave(TimeSpan.FromSeconds(5)); agent.Stop(); }).Start();
            MeshEvent e;
            while (agent.TryTakeEvent(out e, Timeout.InfiniteTimeSpan))
                Console.WriteLine(e.Kind + (e.Member == null ? "" : " " + e.Member.NodeId));
        }
    }
}
