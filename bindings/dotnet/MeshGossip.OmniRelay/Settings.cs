using System;
using System.Collections.Generic;
using System.Globalization;

namespace OmniRelay.Core.Gossip
{
    /// <summary>Options as keys of the engine, once they were judged. A value that is still the default is not handed
    /// over: the engine gives notes for keys without effect, and some take others out of force.</summary>
    internal static class Settings
    {
        private const string Root = "mesh:gossip:";

        internal static bool HasCertificate(MeshGossipTlsOptions tls)
        {
            foreach (string one in new[] { tls.CertificatePath, tls.CertificateData, tls.CertificateDataSecret })
                if (!string.IsNullOrWhiteSpace(one)) return true;
            return false;
        }

        /// <summary>Throws ArgumentException with the key of what no engine could take.</summary>
        internal static void Validate(MeshGossipOptions options)
        {
            NotEmpty("nodeId", options.NodeId);
            NotEmpty("role", options.Role);
            NotEmpty("clusterId", options.ClusterId);
            NotEmpty("region", options.Region);
            NotEmpty("meshVersion", options.MeshVersion);
            NotEmpty("bindAddress", options.BindAddress);
            Within("port", options.Port, 0, 65535);
            if (options.AdvertisePort != null) Within("advertisePort", options.AdvertisePort.Value, 1, 65535);
            Within("fanout", options.Fanout, 1, int.MaxValue);
            Within("fanoutFloor", options.FanoutFloor, 0, int.MaxValue);
            Within("fanoutCeiling", options.FanoutCeiling, options.FanoutFloor, int.MaxValue);
            Within("maxOutboundPerRound", options.MaxOutboundPerRound, 0, int.MaxValue);
            Within("retransmitLimit", options.RetransmitLimit, 0, int.MaxValue);
            if (!(options.FanoutCoefficient > 0) || double.IsInfinity(options.FanoutCoefficient))
                throw Wrong("fanoutCoefficient", "is " + options.FanoutCoefficient.ToString(CultureInfo.InvariantCulture) + " and has to be above 0");
            Positive("interval", options.Interval);
            Positive("suspicionInterval", options.SuspicionInterval);
            Positive("pingTimeout", options.PingTimeout);
            Positive("metadataRefreshPeriod", options.MetadataRefreshPeriod);
            Positive("certificateReloadInterval", options.CertificateReloadInterval);
            if (options.Tls.ReloadIntervalOverride != null) Positive("tls:reloadIntervalOverride", options.Tls.ReloadIntervalOverride.Value);
            foreach (var label in options.Labels)
                if (label.Value == null) throw Wrong("labels:" + label.Key, "has no value");
            foreach (string seed in options.SeedPeers)
                if (seed != null && seed.IndexOf(',') >= 0) throw Wrong("seedPeers", "holds " + seed + ", which is more than one");
        }

        private static ArgumentException Wrong(string key, string why) { return new ArgumentException(Root + key + " " + why + ".", "options"); }

        private static void NotEmpty(string key, string text)
        {
            if (string.IsNullOrWhiteSpace(text)) throw Wrong(key, "is empty");
        }

        private static void Within(string key, int number, int least, int most)
        {
            if (number < least || number > most)
                throw Wrong(key, "is " + number + " and has to be " + (most == int.MaxValue ? least + " or more" : "from " + least + " to " + most));
        }

        private static void Positive(string key, TimeSpan time)
        {
            if (time <= TimeSpan.Zero) throw Wrong(key, "is " + time + " and has to be above 0");
        }

        /// <summary>Every setting that says something, by its key below mesh:gossip. A secret is asked of the host where
        /// it has a store; else its name goes to the engine, which knows variables and files.</summary>
        internal static IEnumerable<KeyValuePair<string, string>> Of(MeshGossipOptions options, Func<string, string> secrets)
        {
            var all = new List<KeyValuePair<string, string>>();
            var usual = new MeshGossipOptions();
            Action<string, object, object> add = (key, value, unsaid) =>
            {
                if (value == null || value.Equals(unsaid)) return;
                if (value is bool) value = (bool)value ? "true" : "false";
                if (value is TimeSpan) value = ((TimeSpan)value).ToString("c", CultureInfo.InvariantCulture);
                all.Add(new KeyValuePair<string, string>(key, Convert.ToString(value, CultureInfo.InvariantCulture)));
            };
            add("nodeId", options.NodeId, usual.NodeId);
            add("role", options.Role, usual.Role);
            add("clusterId", options.ClusterId, usual.ClusterId);
            add("region", options.Region, usual.Region);
            add("meshVersion", options.MeshVersion, usual.MeshVersion);
            add("http3Support", options.Http3Support, usual.Http3Support);
            add("bindAddress", options.BindAddress, usual.BindAddress);
            add("port", options.Port, usual.Port);
            add("advertiseHost", options.AdvertiseHost, usual.AdvertiseHost);
            add("advertisePort", options.AdvertisePort, null);
            add("interval", options.Interval, usual.Interval);
            add("fanout", options.Fanout, usual.Fanout);
            add("fanoutCeiling", options.FanoutCeiling, usual.FanoutCeiling);
            add("fanoutFloor", options.FanoutFloor, usual.FanoutFloor);
            add("fanoutCoefficient", options.FanoutCoefficient, usual.FanoutCoefficient);
            add("adaptiveFanout", options.AdaptiveFanout, usual.AdaptiveFanout);
            add("maxOutboundPerRound", options.MaxOutboundPerRound, usual.MaxOutboundPerRound);
            add("activeViewSize", options.ActiveViewSize, usual.ActiveViewSize);
            add("passiveViewSize", options.PassiveViewSize, usual.PassiveViewSize);
#if !OMNIRELAY_CONTRACTS
            add("shuffleInterval", options.ShuffleInterval, usual.ShuffleInterval);
            add("shuffleSampleSize", options.ShuffleSampleSize, usual.ShuffleSampleSize);
#endif
            add("suspicionInterval", options.SuspicionInterval, usual.SuspicionInterval);
            add("pingTimeout", options.PingTimeout, usual.PingTimeout);
            add("retransmitLimit", options.RetransmitLimit, usual.RetransmitLimit);
            add("metadataRefreshPeriod", options.MetadataRefreshPeriod, usual.MetadataRefreshPeriod);
            add("certificateReloadInterval", options.CertificateReloadInterval, usual.CertificateReloadInterval);
            foreach (var label in options.Labels) add("labels:" + label.Key, label.Value, null);
            Listed("seedPeers", options.SeedPeers, add);
            var tls = options.Tls;
            add("tls:certificatePath", tls.CertificatePath, null);
            Secret("tls:certificateData", tls.CertificateData, tls.CertificateDataSecret, secrets, add);
            Secret("tls:certificatePassword", tls.CertificatePassword, tls.CertificatePasswordSecret, secrets, add);
#if !OMNIRELAY_CONTRACTS
            add("tls:keyPath", tls.KeyPath, null);
            add("tls:caPath", tls.CaPath, null);
            add("tls:crlPath", tls.CrlPath, null);
            add("tls:trustDomain", tls.TrustDomain, null);
#endif
            add("tls:allowUntrustedCertificates", tls.AllowUntrustedCertificates, false);
            add("tls:checkCertificateRevocation", tls.CheckCertificateRevocation, true);
            Listed("tls:allowedThumbprints", tls.AllowedThumbprints, add);
            add("tls:reloadIntervalOverride", tls.ReloadIntervalOverride, null);
#if !OMNIRELAY_CONTRACTS
            foreach (var other in options.Additional) add(other.Key, other.Value, null);
#endif
            return all;
        }

        private static void Listed(string key, IEnumerable<string> list, Action<string, object, object> add)
        {
            var kept = new List<string>();
            foreach (string one in list) if (!string.IsNullOrWhiteSpace(one)) kept.Add(one.Trim());
            if (kept.Count > 0) add(key, string.Join(",", kept), null);
        }

        private static void Secret(string key, string direct, string name, Func<string, string> secrets, Action<string, object, object> add)
        {
            if (!string.IsNullOrEmpty(direct) || string.IsNullOrEmpty(name)) { add(key, direct, null); return; }
            if (secrets == null) { add(key + "Secret", name, null); return; }
            string value = secrets(name);
            if (string.IsNullOrEmpty(value))
                throw new InvalidOperationException(Root + key + "Secret names " + name + ", which the host's secrets do not hold.");
            add(key, value, null);
        }
    }
}
