// Reads a host's configuration into the options.
#if NET7_0_OR_GREATER
using System;
using System.Collections.Generic;
using System.Globalization;
using Microsoft.Extensions.Configuration;

namespace OmniRelay.Core.Gossip
{
    /// <summary>What cannot be read as the property's type is handed to the engine as it was written, as is every key
    /// that is no property: its messages name what is wrong and what would be right.</summary>
    internal static class ConfigurationReader
    {
        private static readonly Dictionary<string, Func<MeshGossipOptions, string, bool>> properties =
            new Dictionary<string, Func<MeshGossipOptions, string, bool>>(StringComparer.OrdinalIgnoreCase)
        {
            { "enabled", Flag((o, v) => o.Enabled = v) },
            { "nodeId", Text((o, v) => o.NodeId = v) },
            { "role", Text((o, v) => o.Role = v) },
            { "clusterId", Text((o, v) => o.ClusterId = v) },
            { "region", Text((o, v) => o.Region = v) },
            { "meshVersion", Text((o, v) => o.MeshVersion = v) },
            { "http3Support", Flag((o, v) => o.Http3Support = v) },
            { "bindAddress", Text((o, v) => o.BindAddress = v) },
            { "port", Number((o, v) => o.Port = v) },
            { "advertiseHost", Text((o, v) => o.AdvertiseHost = v) },
            { "advertisePort", Number((o, v) => o.AdvertisePort = v) },
            { "interval", Time((o, v) => o.Interval = v) },
            { "fanout", Number((o, v) => o.Fanout = v) },
            { "fanoutCeiling", Number((o, v) => o.FanoutCeiling = v) },
            { "fanoutFloor", Number((o, v) => o.FanoutFloor = v) },
            { "fanoutCoefficient", Real((o, v) => o.FanoutCoefficient = v) },
            { "adaptiveFanout", Flag((o, v) => o.AdaptiveFanout = v) },
            { "maxOutboundPerRound", Number((o, v) => o.MaxOutboundPerRound = v) },
            { "activeViewSize", Number((o, v) => o.ActiveViewSize = v) },
            { "passiveViewSize", Number((o, v) => o.PassiveViewSize = v) },
            { "suspicionInterval", Time((o, v) => o.SuspicionInterval = v) },
            { "pingTimeout", Time((o, v) => o.PingTimeout = v) },
            { "retransmitLimit", Number((o, v) => o.RetransmitLimit = v) },
            { "metadataRefreshPeriod", Time((o, v) => o.MetadataRefreshPeriod = v) },
            { "certificateReloadInterval", Time((o, v) => o.CertificateReloadInterval = v) },
            { "tls:certificatePath", Text((o, v) => o.Tls.CertificatePath = v) },
            { "tls:certificateData", Text((o, v) => o.Tls.CertificateData = v) },
            { "tls:certificateDataSecret", Text((o, v) => o.Tls.CertificateDataSecret = v) },
            { "tls:certificatePassword", Text((o, v) => o.Tls.CertificatePassword = v) },
            { "tls:certificatePasswordSecret", Text((o, v) => o.Tls.CertificatePasswordSecret = v) },
            { "tls:allowUntrustedCertificates", Flag((o, v) => o.Tls.AllowUntrustedCertificates = v) },
            { "tls:checkCertificateRevocation", Flag((o, v) => o.Tls.CheckCertificateRevocation = v) },
            { "tls:reloadIntervalOverride", Time((o, v) => o.Tls.ReloadIntervalOverride = v) },
        };

        internal static void Read(IConfiguration configuration, MeshGossipOptions options, IDictionary<string, string> additional)
        {
            IConfiguration section = configuration.GetSection("mesh:gossip");
            if (Empty(section))
            {
                // Whole configurations have other sections, which are none of ours.
                if (!(configuration is IConfigurationSection)) return;
                section = configuration;
            }
            foreach (var child in section.GetChildren()) Walk(child, child.Key, options, additional);
        }

        private static bool Empty(IConfiguration section)
        {
            foreach (var child in section.GetChildren()) return false;
            return true;
        }

        private static void Walk(IConfigurationSection section, string path, MeshGossipOptions options, IDictionary<string, string> additional)
        {
            foreach (var child in section.GetChildren()) Walk(child, path + ":" + child.Key, options, additional);
            string value = section.Value;
            if (value == null) return;
            Func<MeshGossipOptions, string, bool> property;
            if (properties.TryGetValue(path, out property) && property(options, value)) return;
            int end = path.LastIndexOf(':');
            string above = end < 0 ? "" : path.Substring(0, end).ToLowerInvariant();
            if (above == "labels") options.Labels[path.Substring(end + 1)] = value;
            else if (above == "seedpeers") options.SeedPeers.Add(value);
            else if (above == "tls:allowedthumbprints") options.Tls.AllowedThumbprints.Add(value);
            else additional[path] = value;
        }

        private static Func<MeshGossipOptions, string, bool> Text(Action<MeshGossipOptions, string> set)
        {
            return (options, value) => { set(options, value); return true; };
        }

        private static Func<MeshGossipOptions, string, bool> Flag(Action<MeshGossipOptions, bool> set)
        {
            return (options, value) =>
            {
                bool flag;
                if (!bool.TryParse(value, out flag)) return false;
                set(options, flag);
                return true;
            };
        }

        private static Func<MeshGossipOptions, string, bool> Number(Action<MeshGossipOptions, int> set)
        {
            return (options, value) =>
            {
                int number;
                if (!int.TryParse(value, NumberStyles.Integer, CultureInfo.InvariantCulture, out number)) return false;
                set(options, number);
                return true;
            };
        }

        private static Func<MeshGossipOptions, string, bool> Real(Action<MeshGossipOptions, double> set)
        {
            return (options, value) =>
            {
                double number;
                if (!double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out number)) return false;
                set(options, number);
                return true;
            };
        }

        // "5" is five days to .NET and a mistake to the engine, which knows "500ms" as well.
        private static Func<MeshGossipOptions, string, bool> Time(Action<MeshGossipOptions, TimeSpan> set)
        {
            return (options, value) =>
            {
                TimeSpan time;
                if (value.IndexOf(':') < 0 || !TimeSpan.TryParse(value, CultureInfo.InvariantCulture, out time)) return false;
                set(options, time);
                return true;
            };
        }
    }
}
#endif
