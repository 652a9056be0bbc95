// Does with the .NET binding what the lines of its input say; the driver describes them.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text;
using MeshGossip;

internal static class Runner
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);
    private static readonly string[] None = new string[0];
    private static readonly Dictionary<string, Options> options = new Dictionary<string, Options>();
    private static readonly Dictionary<string, Agent> agents = new Dictionary<string, Agent>();
    private static readonly Dictionary<string, View> views = new Dictionary<string, View>();

    private static void Main()
    {
        Console.OutputEncoding = new UTF8Encoding(false);
        // Where the locale says less than UTF-8, the console would put question marks.
        var input = new StreamReader(Console.OpenStandardInput(), new UTF8Encoding(false));
        for (string line; (line = input.ReadLine()) != null;)
        {
            // Half of a surrogate pair, and a zero, in the places of their marks.
            line = line.Replace("<half>", "\ud800").Replace("<zero>", "\0");
            Console.WriteLine(string.Join("\t", Answer(line.Split('\t'))));
            Console.Out.Flush();
        }
        Environment.Exit(0);
    }

    private static IEnumerable<string> Answer(string[] with)
    {
        try { return new[] { "ok" }.Concat(Act(with)).ToArray(); }
        catch (MeshGossipException e) { return new[] { "error", Upper(e.Code.ToString()), e.Field ?? "-" }; }
        // What .NET itself says of a disposed object.
        catch (ObjectDisposedException) { return new[] { "error", "STOPPED", "-" }; }
    }

    // "NotFound" is "not-found".
    private static string Dashed(string name)
    {
        var text = new StringBuilder();
        foreach (char c in name)
        {
            if (char.IsUpper(c) && text.Length > 0) text.Append('-');
            text.Append(char.ToLowerInvariant(c));
        }
        return text.ToString();
    }

    private static string Upper(string name) { return name == "Utf8" ? "UTF8" : Dashed(name).Replace('-', '_').ToUpperInvariant(); }

    private static string[] Words(MeshEvent e)
    {
        string kind = Dashed(e.Kind.ToString());
        if (e.Kind == EventKind.Broadcast || e.Kind == EventKind.Message)
            return new[] { kind, e.Topic.ToString(), Encoding.UTF8.GetString(e.Payload) };
        if (e.Kind == EventKind.Overflow || e.Kind == EventKind.Missed) return new[] { kind, e.Count.ToString() };
        if (e.Kind == EventKind.Left) return new[] { kind, e.Member.NodeId, Dashed(e.Reason.ToString()) };
        return e.Member == null ? new[] { kind } : new[] { kind, e.Member.NodeId };
    }

    private static string[] Show(View view, string status)
    {
        var shown = from member in view.Members
                    where status == null || Dashed(member.Status.ToString()) == status
                    let labels = member.Labels.OrderBy(l => l.Key, StringComparer.Ordinal).Select(l => ":" + l.Key + "=" + l.Value)
                    select member.NodeId + ":" + Dashed(member.Status.ToString()) + ":" + Dashed(member.Lifecycle.ToString()) + string.Concat(labels);
        return shown.OrderBy(text => text, StringComparer.Ordinal).ToArray();
    }

    // Hands events to a function until it has had enough; false where none came in time.
    private static bool Take(string name, string ms, Func<MeshEvent, bool> enough)
    {
        var clock = Stopwatch.StartNew();
        var all = TimeSpan.FromMilliseconds(int.Parse(ms));
        MeshEvent next;
        while (agents[name].TryTakeEvent(out next, clock.Elapsed < all ? all - clock.Elapsed : TimeSpan.Zero))
            if (enough(next)) return true;
        return false;
    }

    private static string[] Await(string name, string kind, string ms)
    {
        string[] words = null;
        if (!Take(name, ms, e => (words = Words(e))[0] == kind)) throw new MeshGossipException(ErrorCode.Timeout, "no event", null);
        return words;
    }

    private static string[] Tally(string name, string wanted, string ms)
    {
        ulong taken = 0, missed = 0;
        Take(name, ms, e =>
        {
            if (e.Kind == EventKind.Broadcast) taken++;
            if (e.Kind == EventKind.Missed) missed += e.Count;
            return taken + missed >= ulong.Parse(wanted);
        });
        return new[] { (taken + missed).ToString(), missed > 0 ? "marked" : "whole" };
    }

    private static string[] Act(string[] with)
    {
        switch (with[0])
        {
            case "load": Runtime.Check(); return None;
            case "options": options[with[1]] = with[2] == "file" ? Options.FromFile(with[3]) : Options.FromJson(with[3]); return None;
            case "set": options[with[1]].Set(with[2], with.Length > 3 ? with[3] : null); return None;
            case "start":
                int capacity = int.Parse(with[3]);
                agents[with[1]] = capacity == 0 ? Agent.Start(options[with[2]]) : Agent.Start(options[with[2]], capacity);
                return None;
            case "members": return Show(views[with[1]], null);
            case "await": return Await(with[1], with[2], with[3]);
            case "tally": return Tally(with[1], with[2], with[3]);
            default: return OfAgent(agents[with[1]], with);
        }
    }

    private static string[] OfAgent(Agent agent, string[] with)
    {
        switch (with[0])
        {
            case "address": return new[] { agent.Address };
            case "node": return new[] { agent.NodeId };
            case "label": agent.SetLabel(with[2], with.Length > 3 ? with[3] : null); return None;
            case "lifecycle": agent.SetLifecycle((Lifecycle)Enum.Parse(typeof(Lifecycle), with[2], true)); return None;
            case "reload": agent.Reload(); return None;
            case "metadata":
                agent.SetMetadata(region: with[2], labels: new Dictionary<string, string> { { with[3], with[4] } });
                return None;
            case "certificates":
                agent.ReloadCertificates(File.ReadAllBytes(with[2]), File.ReadAllBytes(with[3]), File.ReadAllBytes(with[4]));
                return None;
            case "latest": agent.BroadcastLatest(ushort.Parse(with[2]), ulong.Parse(with[3]), Encoding.UTF8.GetBytes(with[4])); return None;
            case "leave": agent.Leave(Patience); return None;
            case "stop": agent.Stop(); return None;
            case "close": agent.Dispose(); return None;
            case "snapshot": views[with[2]] = agent.Snapshot(); return None;
            case "view": return Show(agent.Snapshot(), with.Length > 2 ? with[2] : null);
            case "broadcast": agent.Broadcast(ushort.Parse(with[2]), Encoding.UTF8.GetBytes(with[3])); return None;
            case "send": agent.SendTo(default(MemberId), ushort.Parse(with[2]), Encoding.UTF8.GetBytes(with[3])); return None;
            case "peers":
                string json = agent.PeersJson(Patience), key = "\"localNodeId\":\"";
                int at = json.IndexOf(key, StringComparison.Ordinal) + key.Length;
                return new[] { json.Substring(at, json.IndexOf('"', at) - at) };
            case "leaders": agent.LeadersJson(with[2], Patience); return None;
            case "contacts": return new[] { agent.Contacts(Patience).Count.ToString() };
            case "health":
                var health = agent.Health(Patience);
                return new[] { (health & Health.Ready) != 0 ? "ready" : "not ready", (health & Health.Draining) != 0 ? "draining" : "not draining" };
            default: throw new InvalidOperationException(with[0]);
        }
    }
}
