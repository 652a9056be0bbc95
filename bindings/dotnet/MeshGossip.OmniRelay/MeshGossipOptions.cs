// With OMNIRELAY_CONTRACTS defined the options come from OmniRelay's packages, and Settings reads
// those. A compiler of C# 7 reads a copy: see `compile`.
#if !OMNIRELAY_CONTRACTS
#nullable enable
using System;
using System.Collections.Generic;

namespace OmniRelay.Core.Gossip
{
    /// <summary>Settings under mesh:gossip. What is not changed is left to the engine, whose defaults are these.</summary>
    public sealed class MeshGossipOptions
    {
        public const string CurrentSchemaVersion = "v1";

        public bool Enabled { get; set; } = true;
        public string NodeId { get; set; } = "mesh-" + Environment.MachineName;
        public string Role { get; set; } = "worker";
        public string ClusterId { get; set; } = "local";
        public string Region { get; set; } = "local";
        public string MeshVersion { get; set; } = "dev";
        public bool Http3Support { get; set; } = true;
        public IDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        public string BindAddress { get; set; } = "0.0.0.0";
        public int Port { get; set; } = 17421;
        public string? AdvertiseHost { get; set; } = Environment.GetEnvironmentVariable("HOSTNAME") ?? Environment.MachineName;
        public int? AdvertisePort { get; set; }
        public TimeSpan Interval { get; set; } = TimeSpan.FromSeconds(1);
        public int Fanout { get; set; } = 3;
        public int FanoutCeiling { get; set; } = 32;
        public int FanoutFloor { get; set; } = 3;
        public double FanoutCoefficient { get; set; } = 1.5;
        public bool AdaptiveFanout { get; set; } = true;
        public int MaxOutboundPerRound { get; set; } = 20;
        public int ActiveViewSize { get; set; } = 16;
        public int PassiveViewSize { get; set; } = 64;
        public TimeSpan ShuffleInterval { get; set; } = TimeSpan.FromSeconds(2);
        public int ShuffleSampleSize { get; set; } = 10;
        public TimeSpan SuspicionInterval { get; set; } = TimeSpan.FromSeconds(5);
        public TimeSpan PingTimeout { get; set; } = TimeSpan.FromSeconds(2);
        public int RetransmitLimit { get; set; } = 4;
        public TimeSpan MetadataRefreshPeriod { get; set; } = TimeSpan.FromSeconds(30);
        public TimeSpan CertificateReloadInterval { get; set; } = TimeSpan.FromMinutes(5);
        public IList<string> SeedPeers { get; init; } = new List<string>();
        public MeshGossipTlsOptions Tls { get; init; } = new MeshGossipTlsOptions();

        /// <summary>Other keys of the engine by their path, as "control:port".</summary>
        public IDictionary<string, string> Additional { get; init; } = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>Certificate and trust. The variables MESH_GOSSIP_CERT_* stand where nothing is said.</summary>
    public sealed class MeshGossipTlsOptions
    {
        private static string? Said(string name) { return Environment.GetEnvironmentVariable("MESH_GOSSIP_CERT_" + name); }

        /// <summary>PKCS#12, or PEM with a key.</summary>
        public string? CertificatePath { get; set; } = Said("PATH");
        /// <summary>The same in base64; wins over the path.</summary>
        public string? CertificateData { get; set; } = Said("DATA");
        /// <summary>What the secret is called that holds the data.</summary>
        public string? CertificateDataSecret { get; set; } = Said("DATA_SECRET");
        public string? CertificatePassword { get; set; } = Said("PASSWORD");
        public string? CertificatePasswordSecret { get; set; } = Said("PASSWORD_SECRET");
        /// <summary>The engine refuses true, and nothing sets it by itself.</summary>
        public bool AllowUntrustedCertificates { get; set; }
        public bool CheckCertificateRevocation { get; set; } = true;
        public IList<string> AllowedThumbprints { get; init; } = new List<string>();
        public TimeSpan? ReloadIntervalOverride { get; set; }

        public string? KeyPath { get; set; }
        public string? CaPath { get; set; }
        public string? CrlPath { get; set; }
        public string? TrustDomain { get; set; }
    }
}
#endif
