// The shapes that OmniRelay's hosts program against. With OMNIRELAY_CONTRACTS defined they come
// from OmniRelay's own packages and this file is empty.
#if !OMNIRELAY_CONTRACTS
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
#if NET7_0_OR_GREATER
using System.Collections.Immutable;
#endif

namespace OmniRelay.Core.Gossip
{
    public enum MeshGossipMemberStatus { Alive, Suspect, Left }

    public sealed class MeshGossipMemberMetadata
    {
        public string NodeId { get; internal set; }
        public string Role { get; internal set; }
        public string ClusterId { get; internal set; }
        public string Region { get; internal set; }
        public string MeshVersion { get; internal set; }
        public bool Http3Support { get; internal set; }
        public long MetadataVersion { get; internal set; }
        public string Endpoint { get; internal set; }
        public IReadOnlyDictionary<string, string> Labels { get; internal set; }
    }

    public sealed class MeshGossipMemberSnapshot
    {
        public string NodeId { get; internal set; }
        public MeshGossipMemberStatus Status { get; internal set; }
        public DateTimeOffset? LastSeen { get; internal set; }
        public double? RoundTripTimeMs { get; internal set; }
        public MeshGossipMemberMetadata Metadata { get; internal set; }
    }

    public sealed class MeshGossipClusterView
    {
#if NET7_0_OR_GREATER
        public MeshGossipClusterView(DateTimeOffset generatedAt, ImmutableArray<MeshGossipMemberSnapshot> members,
            string localNodeId, string schemaVersion)
#else
        public MeshGossipClusterView(DateTimeOffset generatedAt, IReadOnlyList<MeshGossipMemberSnapshot> members,
            string localNodeId, string schemaVersion)
#endif
        {
            GeneratedAt = generatedAt;
            Members = members;
            LocalNodeId = localNodeId;
            SchemaVersion = schemaVersion;
        }

        public DateTimeOffset GeneratedAt { get; private set; }
#if NET7_0_OR_GREATER
        public ImmutableArray<MeshGossipMemberSnapshot> Members { get; private set; }
#else
        public IReadOnlyList<MeshGossipMemberSnapshot> Members { get; private set; }
#endif
        public string LocalNodeId { get; private set; }
        public string SchemaVersion { get; private set; }
    }

    public interface IMeshMembershipSnapshotProvider
    {
        MeshGossipClusterView Snapshot();
    }

    // ValueTask is not part of every older runtime's class library.
    public interface ILifecycle
    {
#if NET7_0_OR_GREATER
        ValueTask StartAsync(CancellationToken cancellationToken = default);
        ValueTask StopAsync(CancellationToken cancellationToken = default);
#else
        Task StartAsync(CancellationToken cancellationToken = default(CancellationToken));
        Task StopAsync(CancellationToken cancellationToken = default(CancellationToken));
#endif
    }

    public interface IMeshGossipAgent : ILifecycle, IMeshMembershipSnapshotProvider
    {
        MeshGossipMemberMetadata LocalMetadata { get; }
        bool IsEnabled { get; }
    }
}
#endif
