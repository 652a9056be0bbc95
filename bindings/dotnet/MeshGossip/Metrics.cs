using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace MeshGossip
{
    public enum MetricKind { Untyped, Counter, Gauge, Histogram, Summary }

    /// <summary>One number of the metrics.</summary>
    public sealed class MetricSample
    {
        private MetricSample(string name, string family, MetricKind kind, string help,
            IReadOnlyDictionary<string, string> labels, double value)
        {
            Name = name;
            Family = family;
            Kind = kind;
            Help = help;
            Labels = labels;
            Value = value;
        }

        /// <summary>As "mesh_gossip_members"; of a histogram with "_bucket", "_sum" or "_count" behind.</summary>
        public string Name { get; private set; }
        /// <summary>The name without what is behind it.</summary>
        public string Family { get; private set; }
        public MetricKind Kind { get; private set; }
        public string Help { get; private set; }
        public IReadOnlyDictionary<string, string> Labels { get; private set; }
        public double Value { get; private set; }

        /// <summary>Reads Prometheus' text format.</summary>
        public static IReadOnlyList<MetricSample> Parse(string text)
        {
            if (text == null) throw new ArgumentNullException("text");
            var samples = new List<MetricSample>();
            var kinds = new Dictionary<string, MetricKind>(StringComparer.Ordinal);
            var helps = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (string line in text.Split('\n'))
            {
                if (line.StartsWith("# ", StringComparison.Ordinal))
                {
                    var words = line.Split(new[] { ' ' }, 4);
                    MetricKind kind;
                    if (words.Length == 4 && words[1] == "HELP") helps[words[2]] = words[3];
                    if (words.Length == 4 && words[1] == "TYPE" && Enum.TryParse(words[3].Trim(), true, out kind)) kinds[words[2]] = kind;
                }
                else if (line.Length > 0 && line[0] != '#') samples.Add(Read(line, kinds, helps));
            }
            return samples.AsReadOnly();
        }

        private static MetricSample Read(string line, Dictionary<string, MetricKind> kinds, Dictionary<string, string> helps)
        {
            int end = line.IndexOfAny(new[] { '{', ' ' });
            if (end < 0) throw new FormatException("a metric without a number: " + line);
            string name = line.Substring(0, end), family = name;
            var labels = new Dictionary<string, string>(StringComparer.Ordinal);
            if (line[end] == '{') end = ReadLabels(line, end + 1, labels);
            string number = line.Substring(end).Trim().Split(' ')[0];
            double value = number == "+Inf" ? double.PositiveInfinity : number == "-Inf" ? double.NegativeInfinity
                : double.Parse(number, CultureInfo.InvariantCulture);
            foreach (string behind in new[] { "_bucket", "_sum", "_count" })
            {
                if (kinds.ContainsKey(name) || !name.EndsWith(behind, StringComparison.Ordinal)) continue;
                string shorter = name.Substring(0, name.Length - behind.Length);
                if (kinds.ContainsKey(shorter)) family = shorter;
            }
            MetricKind kind;
            string help;
            kinds.TryGetValue(family, out kind);
            helps.TryGetValue(family, out help);
            return new MetricSample(name, family, kind, help ?? "", labels, value);
        }

        // From behind the brace; gives the place behind the other one.
        private static int ReadLabels(string line, int at, Dictionary<string, string> labels)
        {
            while (line[at] != '}')
            {
                int equals = line.IndexOf('=', at);
                string key = line.Substring(at, equals - at).Trim(' ', ',');
                var value = new StringBuilder();
                for (at = equals + 2; line[at] != '"'; at++)
                {
                    if (line[at] == '\\') at++;
                    value.Append(line[at] == 'n' && line[at - 1] == '\\' ? '\n' : line[at]);
                }
                labels[key] = value.ToString();
                at++;
                if (line[at] == ',') at++;
            }
            return at + 1;
        }
    }
}
