// The shapes that OmniRelay's hosts program against. With OMNIRELAY_CONTRACTS defined they come
// from OmniRelay's own packages and this file is empty. A compiler of C# 7 reads a copy in which
// `init` is `set` and nothing is nullable: see `compile`.
#if !OMNIRELAY_CONTRACTS
#nullable enable
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
#if NET7_0_OR_GREATER
using System.Collections.Immutable;
using System.Text.Json.Serialization;
#endif

namespace OmniRelay.Core.Gossip
{
#if NET7_0_OR_GREATER
    [JsonConverter(typeof(JsonStringEnumConverter))]
#endif
    public enum MeshGossipMemberStatus { Alive, Suspect, Left }

    /// <summary>What a member says of itself.</summary>
    public sealed class MeshGossipMemberMetadata
    {
#if NET7_0_OR_GREATER
        [JsonPropertyName("nodeId")]
#endif
        public string NodeId { get; init; } = "";
#if NET7_0_OR_GREATER
        [JsonPropertyName("role")]
#endif
        public string Role { get; init; } = "";
#if NET7_0_OR_GREATER
        [JsonPropertyName("clusterId")]
#endif
        public string ClusterId { get; init; } = "";
#if NET7_0_OR_GREATER
        [JsonPropertyName("region")]
#endif
        public string Region { get; init; } = "";
#if NET7_0_OR_GREATER
        [JsonPropertyName("meshVersion")]
#endif
        public string MeshVersion { get; init; } = "";
#if NET7_0_OR_GREATER
        [JsonPropertyName("http3Support")]
#endif
        public bool Http3Support { get; init; } = true;
#if NET7_0_OR_GREATER
        [JsonPropertyName("metadataVersion")]
#endif
        public long MetadataVersion { get; init; } = 1;
#if NET7_0_OR_GREATER
        [JsonPropertyName("labels")]
#endif
        public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
#if NET7_0_OR_GREATER
        [JsonPropertyName("endpoint")]
#endif
        public string? Endpoint { get; init; }

        /// <summary>The same with these labels in place of all.</summary>
        public MeshGossipMemberMetadata WithLabels(IReadOnlyDictionary<string, string> labels)
        {
            if (labels == null) throw new ArgumentNullException("labels");
            return new MeshGossipMemberMetadata
            {
                NodeId = NodeId, Role = Role, ClusterId = ClusterId, Region = Region, MeshVersion = MeshVersion,
                Http3Support = Http3Support, MetadataVersion = MetadataVersion, Endpoint = Endpoint, Labels = labels
            };
        }
    }

    /// <summary>How a member is in the local view.</summary>
    public sealed class MeshGossipMemberSnapshot
    {
#if NET7_0_OR_GREATER
        [JsonPropertyName("nodeId")]
#endif
        public string NodeId { get; init; } = "";
#if NET7_0_OR_GREATER
        [JsonPropertyName("status")]
#endif
        public MeshGossipMemberStatus Status { get; init; } = MeshGossipMemberStatus.Alive;
#if NET7_0_OR_GREATER
        [JsonPropertyName("lastSeen")]
#endif
        public DateTimeOffset? LastSeen { get; init; }
#if NET7_0_OR_GREATER
        [JsonPropertyName("rttMs")]
#endif
        public double? RoundTripTimeMs { get; init; }
#if NET7_0_OR_GREATER
        [JsonPropertyName("metadata")]
#endif
        public MeshGossipMemberMetadata Metadata { get; init; } = new MeshGossipMemberMetadata();
    }

    /// <summary>The view: the local member first, then the others in ordinal order of their names.</summary>
#if NET7_0_OR_GREATER && !CSHARP_7
    public sealed record MeshGossipClusterView(
        DateTimeOffset GeneratedAt,
        ImmutableArray<MeshGossipMemberSnapshot> Members,
        string LocalNodeId,
        string SchemaVersion);
#else
    public sealed class MeshGossipClusterView
    {
#if NET7_0_OR_GREATER
        public MeshGossipClusterView(DateTimeOffset GeneratedAt, ImmutableArray<MeshGossipMemberSnapshot> Members,
            string LocalNodeId, string SchemaVersion)
#else
        public MeshGossipClusterView(DateTimeOffset GeneratedAt, IReadOnlyList<MeshGossipMemberSnapshot> Members,
            string LocalNodeId, string SchemaVersion)
#endif
        {
            this.GeneratedAt = GeneratedAt;
            this.Members = Members;
            this.LocalNodeId = LocalNodeId;
            this.SchemaVersion = SchemaVersion;
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
#endif

    public interface IMeshMembershipSnapshotProvider
    {
        MeshGossipClusterView Snapshot();
    }

    // ValueTask is not part of every older runtime's class library.
    public interface ILifecycle
    {
#if NET7_0_OR_GREATER
        ValueTask StartAsync(CancellationToken cancellationToken = default(CancellationToken));
        ValueTask StopAsync(CancellationToken cancellationToken = default(CancellationToken));
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
