// The functions of mesh_gossip.h. Their marshalling is generated at compile time: no reflection, fit for ahead-of-time
// compilation. An older compiler reads a copy with DllImport in place of it, which has the same parameters: see `compile`.
using System;
using System.Runtime.InteropServices;

namespace MeshGossip
{
    internal static unsafe partial class Native
    {
        internal const string Library = "mesh_gossip";

        [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
        internal static partial int poll(PollDescriptor* descriptors, UIntPtr count, int timeoutMs);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_abi_version")]
        internal static partial uint abi_version();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_version_string")]
        internal static partial IntPtr version_string();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_features")]
        internal static partial ulong features();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_error_message")]
        internal static partial IntPtr error_message(IntPtr error);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_error_field")]
        internal static partial IntPtr error_field(IntPtr error);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_error_code")]
        internal static partial int error_code(IntPtr error);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_error_free")]
        internal static partial void error_free(IntPtr error);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_text_data")]
        internal static partial IntPtr text_data(IntPtr text);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_text_len")]
        internal static partial UIntPtr text_len(IntPtr text);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_text_free")]
        internal static partial void text_free(IntPtr text);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_start_options_init")]
        internal static partial int start_options_init(StartOptions* options, UIntPtr size);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_options_from_json")]
        internal static partial int options_from_json(byte* json, out IntPtr options, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_options_from_file")]
        internal static partial int options_from_file(byte* path, out IntPtr options, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_options_set")]
        internal static partial int options_set(OptionsHandle options, byte* key, byte* value, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_options_free")]
        internal static partial void options_free(IntPtr options);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_start_with")]
        internal static partial int agent_start_with(OptionsHandle options, StartOptions* start, out IntPtr agent, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_leave")]
        internal static partial int agent_leave(AgentHandle agent, ulong timeoutMs, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_stop")]
        internal static partial int agent_stop(AgentHandle agent, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_free")]
        internal static partial int agent_free(IntPtr agent);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_node_id")]
        internal static partial IntPtr agent_node_id(AgentHandle agent);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_address")]
        internal static partial IntPtr agent_address(AgentHandle agent);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_set_metadata")]
        internal static partial int agent_set_metadata(AgentHandle agent, byte* json, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_reload_certificates")]
        internal static partial int agent_reload_certificates(AgentHandle agent, byte* certificate, UIntPtr certificateLength,
            byte* key, UIntPtr keyLength, byte* ca, UIntPtr caLength, byte* password, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_broadcast_latest")]
        internal static partial int agent_broadcast_latest(AgentHandle agent, ushort topic, ulong key, byte* data, UIntPtr len, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_members_stride")]
        internal static partial UIntPtr members_stride();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_labels_stride")]
        internal static partial UIntPtr labels_stride();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_contacts_stride")]
        internal static partial UIntPtr contacts_stride();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_contacts")]
        internal static partial int agent_contacts(AgentHandle agent, ulong timeoutMs, out IntPtr contacts, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_contacts_len")]
        internal static partial UIntPtr contacts_len(IntPtr contacts);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_contacts_at")]
        internal static partial IntPtr contacts_at(IntPtr contacts, UIntPtr index);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_contacts_free")]
        internal static partial void contacts_free(IntPtr contacts);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_try_acquire")]
        internal static partial int snapshot_try_acquire(AgentHandle agent, out IntPtr snapshot, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_release")]
        internal static partial void snapshot_release(IntPtr snapshot);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_len")]
        internal static partial UIntPtr snapshot_len(SnapshotHandle snapshot);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_generation")]
        internal static partial ulong snapshot_generation(SnapshotHandle snapshot);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_time")]
        internal static partial ulong snapshot_time(SnapshotHandle snapshot);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_local_id")]
        internal static partial byte* snapshot_local_id(SnapshotHandle snapshot);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_chunk_count")]
        internal static partial UIntPtr snapshot_chunk_count(SnapshotHandle snapshot);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_chunk")]
        internal static partial int snapshot_chunk(SnapshotHandle snapshot, UIntPtr index, out IntPtr records, out UIntPtr len, out UIntPtr stride);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_snapshot_chunk_generation")]
        internal static partial ulong snapshot_chunk_generation(SnapshotHandle snapshot, UIntPtr index);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_events_fd")]
        internal static partial int agent_events_fd(AgentHandle agent);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_take_events")]
        internal static partial int agent_take_events(AgentHandle agent, UIntPtr max, out IntPtr events, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_events_len")]
        internal static partial UIntPtr events_len(IntPtr events);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_events_at")]
        internal static partial IntPtr events_at(IntPtr events, UIntPtr index);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_events_stride")]
        internal static partial UIntPtr events_stride();

        [LibraryImport(Library, EntryPoint = "mesh_gossip_events_free")]
        internal static partial void events_free(IntPtr events);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_set_label")]
        internal static partial int agent_set_label(AgentHandle agent, byte* key, byte* value, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_set_lifecycle")]
        internal static partial int agent_set_lifecycle(AgentHandle agent, uint lifecycle, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_join")]
        internal static partial int agent_join(AgentHandle agent, IntPtr* seeds, UIntPtr count, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_force_leave")]
        internal static partial int agent_force_leave(AgentHandle agent, byte* order, UIntPtr len, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_reload")]
        internal static partial int agent_reload(AgentHandle agent, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_add_revocation_lists")]
        internal static partial int agent_add_revocation_lists(AgentHandle agent, byte* lists, UIntPtr len, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_broadcast")]
        internal static partial int agent_broadcast(AgentHandle agent, ushort topic, byte* data, UIntPtr len, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_send_to")]
        internal static partial int agent_send_to(AgentHandle agent, byte* id, ushort topic, byte* data, UIntPtr len, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_peers_json")]
        internal static partial int agent_peers_json(AgentHandle agent, ulong timeoutMs, out IntPtr text, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_leaders_json")]
        internal static partial int agent_leaders_json(AgentHandle agent, byte* scope, ulong timeoutMs, out IntPtr text, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_metrics_text")]
        internal static partial int agent_metrics_text(AgentHandle agent, ulong timeoutMs, out IntPtr text, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_report_leases")]
        internal static partial int agent_report_leases(AgentHandle agent, byte* nodeId, byte* json, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_lease_health_json")]
        internal static partial int agent_lease_health_json(AgentHandle agent, ulong timeoutMs, out IntPtr text, out IntPtr err);

        [LibraryImport(Library, EntryPoint = "mesh_gossip_agent_health")]
        internal static partial int agent_health(AgentHandle agent, ulong timeoutMs, out uint health, out IntPtr err);
    }
}
