using System;
using System.Collections.Generic;
using System.Globalization;

namespace OmniRelay.Core.Gossip
{
    /// <summary>Settings under mesh:gossip. What is null or empty keeps the engine's default.</summary>
    public sealed class MeshGossipOptions
    {
        public MeshGossipOptions()
        {
            Enabled = true;
            Labels = new Dictionary<string, string>();
            SeedPeers = new List<string>();
            Tls = new MeshGossipTlsOptions();
            Additional = new Dictionary<string, string>();
        }

        public bool Enabled { get; set; }
        public string NodeId { get; set; }
        public string Role { get; set; }
        public string ClusterId { get; set; }
        public string Region { get; set; }
        public string MeshVersion { get; set; }
        public bool? Http3Support { get; set; }
        public string BindAddress { get; set; }
        public int? Port { get; set; }
        public string AdvertiseHost { get; set; }
        public int? AdvertisePort { get; set; }
        public TimeSpan? Interval { get; set; }
        public int? Fanout { get; set; }
        public bool? AdaptiveFanout { get; set; }
        public TimeSpan? SuspicionInterval { get; set; }
        public TimeSpan? PingTimeout { get; set; }
        public int? RetransmitLimit { get; set; }
        public TimeSpan? MetadataRefreshPeriod { get; set; }
        public TimeSpan? CertificateReloadInterval { get; set; }
        public IDictionary<string, string> Labels { get; private set; }
        public IList<string> SeedPeers { get; private set; }
        public MeshGossipTlsOptions Tls { get; private set; }

        /// <summary>Other keys of the engine by their path, as "control:port".</summary>
        public IDictionary<string, string> Additional { get; private set; }

        /// <summary>Every setting that is said, by its key below mesh:gossip.</summary>
        internal IEnumerable<KeyValuePair<string, string>> Settings()
        {
            var all = new List<KeyValuePair<string, string>>();
            Action<string, object> add = (key, value) =>
            {
                if (value is bool) value = (bool)value ? "true" : "false";
                if (value is TimeSpan) value = ((TimeSpan)value).ToString("c", CultureInfo.InvariantCulture);
                if (value != null) all.Add(new KeyValuePair<string, string>(key, Convert.ToString(value, CultureInfo.InvariantCulture)));
            };
            add("nodeId", NodeId);
            add("role", Role);
            add("clusterId", ClusterId);
            add("region", Region);
            add("meshVersion", MeshVersion);
            add("http3Support", Http3Support);
            add("bindAddress", BindAddress);
            add("port", Port);
            add("advertiseHost", AdvertiseHost);
            add("advertisePort", AdvertisePort);
            add("interval", Interval);
            add("fanout", Fanout);
            add("adaptiveFanout", AdaptiveFanout);
            add("suspicionInterval", SuspicionInterval);
            add("pingTimeout", PingTimeout);
            add("retransmitLimit", RetransmitLimit);
            add("metadataRefreshPeriod", MetadataRefreshPeriod);
            add("certificateReloadInterval", CertificateReloadInterval);
            foreach (var label in Labels) add("labels:" + label.Key, label.Value);
            if (SeedPeers.Count > 0) add("seedPeers", string.Join(",", SeedPeers));
            add("tls:certificatePath", Tls.CertificatePath);
            add("tls:certificateData", Tls.CertificateData);
            add("tls:certificatePassword", Tls.CertificatePassword);
            add("tls:keyPath", Tls.KeyPath);
            add("tls:caPath", Tls.CaPath);
            add("tls:crlPath", Tls.CrlPath);
            add("tls:trustDomain", Tls.TrustDomain);
            add("tls:checkCertificateRevocation", Tls.CheckCertificateRevocation);
            foreach (var other in Additional) add(other.Key, other.Value);
            return all;
        }
    }

    public sealed class MeshGossipTlsOptions
    {
        public string CertificatePath { get; set; }
        public string CertificateData { get; set; }
        public string CertificatePassword { get; set; }
        public string KeyPath { get; set; }
        public string CaPath { get; set; }
        public string CrlPath { get; set; }
        public string TrustDomain { get; set; }
        public bool? CheckCertificateRevocation { get; set; }

        internal bool HasCertificate
        {
            get { return !string.IsNullOrEmpty(CertificatePath) || !string.IsNullOrEmpty(CertificateData); }
        }
    }
}
