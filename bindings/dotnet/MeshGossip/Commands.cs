using System;
using System.Collections.Generic;
using System.Globalization;
using System.Runtime.InteropServices;

namespace MeshGossip
{
    /// <summary>One lease, in the words of the host's queue.</summary>
    public sealed class Lease
    {
        public Lease(long sequenceId, uint attempt, string leaseId)
        {
            if (leaseId == null) throw new ArgumentNullException("leaseId");
            SequenceId = sequenceId;
            Attempt = attempt;
            LeaseId = leaseId;
        }

        public long SequenceId { get; private set; }
        public uint Attempt { get; private set; }
        public string LeaseId { get; private set; }
    }

    /// <summary>What a host knows of the work of one peer.</summary>
    public sealed class LeaseReport
    {
        public LeaseReport() { ActiveLeases = new List<Lease>(); }

        public ulong ActiveAssignments { get; set; }
        public ulong PendingReassignments { get; set; }
        public IList<Lease> ActiveLeases { get; private set; }

        internal string Json()
        {
            var leases = new List<string>();
            // The sign of a number is another character in some cultures.
            foreach (var lease in ActiveLeases)
                leases.Add("{\"sequenceId\":" + lease.SequenceId.ToString(CultureInfo.InvariantCulture) + ",\"attempt\":" + lease.Attempt + ",\"leaseId\":"
                    + Call.Json(lease.LeaseId, "leaseId") + "}");
            return "{\"activeAssignments\":" + ActiveAssignments + ",\"pendingReassignments\":" + PendingReassignments
                + ",\"activeLeases\":[" + string.Join(",", leases) + "]}";
        }
    }

    [Flags]
    public enum Health { None = 0, Joined = 1, Ready = 2, Draining = 4 }

    // What a host asks of its agent.
    public sealed unsafe partial class Agent
    {
        /// <summary>Sets a label of this member; null removes it.</summary>
        public void SetLabel(string key, string value)
        {
            IntPtr error;
            fixed (byte* k = Call.Needed(key, "key"), v = Call.Utf8(value, "value"))
                Call.Check(Native.agent_set_label(handle, k, v, out error), error);
        }

        public void SetLifecycle(Lifecycle lifecycle)
        {
            IntPtr error;
            Call.Check(Native.agent_set_lifecycle(handle, (uint)lifecycle, out error), error);
        }

        /// <summary>Replaces the seeds, host:port, that the host named before; those of the settings stay.</summary>
        public void Join(params string[] seeds)
        {
            if (seeds == null) throw new ArgumentNullException("seeds");
            var texts = new GCHandle[seeds.Length];
            var pointers = new IntPtr[seeds.Length + 1];
            try
            {
                for (int i = 0; i < seeds.Length; i++)
                {
                    texts[i] = GCHandle.Alloc(Call.Needed(seeds[i], "seeds"), GCHandleType.Pinned);
                    pointers[i] = texts[i].AddrOfPinnedObject();
                }
                IntPtr error;
                fixed (IntPtr* list = pointers)
                    Call.Check(Native.agent_join(handle, list, (UIntPtr)seeds.Length, out error), error);
            }
            finally
            {
                foreach (var text in texts) if (text.IsAllocated) text.Free();
            }
        }

        /// <summary>Obeys an operator's signed order that a member's life is over.</summary>
        public void ForceLeave(byte[] order)
        {
            if (order == null) throw new ArgumentNullException("order");
            IntPtr error;
            fixed (byte* data = order)
                Call.Check(Native.agent_force_leave(handle, data, Length(order), out error), error);
        }

        /// <summary>Reads certificate, key, trust and revocation lists again.</summary>
        public void Reload()
        {
            IntPtr error;
            Call.Check(Native.agent_reload(handle, out error), error);
        }

        /// <summary>Takes revocation lists, PEM or DER, beside those of the files.</summary>
        public void AddRevocationLists(byte[] lists)
        {
            if (lists == null) throw new ArgumentNullException("lists");
            IntPtr error;
            fixed (byte* data = lists)
                Call.Check(Native.agent_add_revocation_lists(handle, data, Length(lists), out error), error);
        }

        /// <summary>Puts these in place of certificate, key and trust: PEM, or a PKCS#12 store as the certificate with
        /// its password. No key where the certificate's content holds it; no trust keeps that in force.</summary>
        public void ReloadCertificates(byte[] certificate, byte[] key = null, byte[] ca = null, string password = null)
        {
            if (certificate == null) throw new ArgumentNullException("certificate");
            IntPtr error;
            fixed (byte* c = certificate, k = key, t = ca, p = Call.Utf8(password, "password"))
                Call.Check(Native.agent_reload_certificates(handle, c, Length(certificate), k, Length(key), t, Length(ca), p, out error), error);
        }

        /// <summary>Says something else of this member; null leaves what there is, labels stand in place of all.</summary>
        public void SetMetadata(string region = null, string meshVersion = null, string endpoint = null,
            bool? http3Support = null, IReadOnlyDictionary<string, string> labels = null)
        {
            var parts = new List<string>();
            if (region != null) parts.Add("\"region\":" + Call.Json(region, "region"));
            if (meshVersion != null) parts.Add("\"meshVersion\":" + Call.Json(meshVersion, "meshVersion"));
            if (endpoint != null) parts.Add("\"endpoint\":" + Call.Json(endpoint, "endpoint"));
            if (http3Support != null) parts.Add("\"http3Support\":" + (http3Support.Value ? "true" : "false"));
            if (labels != null)
            {
                var pairs = new List<string>();
                foreach (var label in labels)
                {
                    if (label.Value == null) throw new ArgumentNullException("labels", label.Key + " has no value");
                    pairs.Add(Call.Json(label.Key, "labels") + ":" + Call.Json(label.Value, "labels"));
                }
                parts.Add("\"labels\":{" + string.Join(",", pairs) + "}");
            }
            IntPtr error;
            fixed (byte* json = Call.Utf8("{" + string.Join(",", parts) + "}", "json"))
                Call.Check(Native.agent_set_metadata(handle, json, out error), error);
        }

        /// <summary>Tells what the host knows of the work of a peer, in place of what it told before; null forgets it.</summary>
        public void ReportLeases(string nodeId, LeaseReport report)
        {
            IntPtr error;
            fixed (byte* name = Call.Needed(nodeId, "nodeId"), json = Call.Utf8(report == null ? null : report.Json(), "json"))
                Call.Check(Native.agent_report_leases(handle, name, json, out error), error);
        }

        /// <summary>In place of what this member said before under the same topic and key, where that is on its way.</summary>
        public void BroadcastLatest(ushort topic, ulong key, byte[] content)
        {
            if (content == null) throw new ArgumentNullException("content");
            IntPtr error;
            fixed (byte* data = content)
                Call.Check(Native.agent_broadcast_latest(handle, topic, key, data, Length(content), out error), error);
        }

        /// <summary>Says something to every member's host.</summary>
        public void Broadcast(ushort topic, byte[] content)
        {
            if (content == null) throw new ArgumentNullException("content");
            IntPtr error;
            fixed (byte* data = content)
                Call.Check(Native.agent_broadcast(handle, topic, data, Length(content), out error), error);
        }

        /// <summary>Says something to one member's host: one datagram, which may be lost.</summary>
        public void SendTo(MemberId id, ushort topic, byte[] content)
        {
            if (content == null) throw new ArgumentNullException("content");
            IntPtr error;
            fixed (byte* to = id.ToBytes(), data = content)
                Call.Check(Native.agent_send_to(handle, to, topic, data, Length(content), out error), error);
        }

        /// <summary>What GET /control/peers answers.</summary>
        public string PeersJson(TimeSpan timeout)
        {
            IntPtr text, error;
            Call.Check(Native.agent_peers_json(handle, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        /// <summary>Leaders of a scope, or of all for null.</summary>
        public string LeadersJson(string scope, TimeSpan timeout)
        {
            IntPtr text, error;
            fixed (byte* s = Call.Utf8(scope, "scope"))
                Call.Check(Native.agent_leaders_json(handle, s, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        /// <summary>What GET /control/lease-health answers: who may be given work, and what was reported of whom.</summary>
        public string LeaseHealthJson(TimeSpan timeout)
        {
            IntPtr text, error;
            Call.Check(Native.agent_lease_health_json(handle, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        /// <summary>The metrics in Prometheus' text format.</summary>
        public string MetricsText(TimeSpan timeout)
        {
            IntPtr text, error;
            Call.Check(Native.agent_metrics_text(handle, Ms(timeout), out text, out error), error);
            return Call.Take(text);
        }

        /// <summary>The same one by one.</summary>
        public IReadOnlyList<MetricSample> Metrics(TimeSpan timeout) { return MetricSample.Parse(MetricsText(timeout)); }

        public Health Health(TimeSpan timeout)
        {
            uint health;
            IntPtr error;
            Call.Check(Native.agent_health(handle, Ms(timeout), out health, out error), error);
            return (Health)health;
        }

        /// <summary>Our own exchanges with others, by member: of those with whom there were any.</summary>
        public IReadOnlyDictionary<MemberId, Contact> Contacts(TimeSpan timeout)
        {
            IntPtr contacts, error;
            Call.Check(Native.agent_contacts(handle, Ms(timeout), out contacts, out error), error);
            try
            {
                var found = new Dictionary<MemberId, Contact>();
                ulong count = (ulong)Native.contacts_len(contacts);
                for (ulong i = 0; i < count; i++)
                {
                    var record = (ContactRecord*)Native.contacts_at(contacts, (UIntPtr)i);
                    double? rtt = record->RttUs == 0 ? (double?)null : record->RttUs / 1000.0;
                    found[new MemberId(record->Id)] = new Contact(Time.FromUnixMs(record->LastUnixMs), rtt);
                }
                return found;
            }
            finally { Native.contacts_free(contacts); }
        }
    }
}
