using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace MeshGossip
{
    public enum LogLevel { Error = 1, Warn = 2, Info = 3, Debug = 4, Trace = 5 }

    /// <summary>One line of the log: listening is event 1, joined 3, recovered 4, suspect 5, left 6.</summary>
    public sealed class LogEntry
    {
        internal LogEntry(LogLevel level, string message, string fieldsJson)
        {
            Level = level;
            Message = message;
            FieldsJson = fieldsJson;
            Fields = FlatJson.Read(fieldsJson);
            string id;
            int number;
            EventId = Fields.TryGetValue("EventId", out id) && int.TryParse(id, out number) ? number : 0;
        }

        public LogLevel Level { get; private set; }
        /// <summary>0 where the line has none.</summary>
        public int EventId { get; private set; }
        public string Message { get; private set; }
        /// <summary>What it is about, as "PeerId"; numbers and the like as they are written in JSON.</summary>
        public IReadOnlyDictionary<string, string> Fields { get; private set; }
        public string FieldsJson { get; private set; }
    }

    /// <summary>Between the engine's threads, which may not be held up, and a thread that tells the host.</summary>
    internal sealed unsafe class LogSink
    {
        private const int Waiting = 4096;

        // What is copied on the engine's thread; reading it is left to the other.
        private sealed class Line
        {
            internal LogLevel Level;
            internal string Message, Fields;
        }

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate void Callback(IntPtr user, uint level, byte* message, byte* fields);

        // A field, for it has to live as long as the library may call.
        private static readonly Callback kept = Take;
        internal static readonly IntPtr Function = Marshal.GetFunctionPointerForDelegate(kept);

        private readonly BlockingCollection<Line> lines = new BlockingCollection<Line>(Waiting);
        private readonly Action<LogEntry> host;
        private GCHandle own;

        internal LogSink(Action<LogEntry> host)
        {
            this.host = host;
            own = GCHandle.Alloc(this);
            new Thread(Tell) { IsBackground = true, Name = "mesh-log" }.Start();
        }

        internal IntPtr User { get { return GCHandle.ToIntPtr(own); } }

        /// <summary>The library will call no more; what waits is still told.</summary>
        internal void Release()
        {
            lines.CompleteAdding();
            own.Free();
        }

        // Nothing may be thrown into the library. A line that finds no room is lost.
        private static void Take(IntPtr user, uint level, byte* message, byte* fields)
        {
            try
            {
                var sink = (LogSink)GCHandle.FromIntPtr(user).Target;
                sink.lines.TryAdd(new Line { Level = (LogLevel)level, Message = Call.Text((IntPtr)message), Fields = Call.Text((IntPtr)fields) });
            }
            catch (Exception) { }
        }

        private void Tell()
        {
            foreach (var line in lines.GetConsumingEnumerable())
            {
                try { host(new LogEntry(line.Level, line.Message, line.Fields)); }
                catch (Exception) { }
            }
        }
    }

    /// <summary>A JSON object of plain values, as the log writes them; what is within another object stays text.</summary>
    internal static class FlatJson
    {
        internal static IReadOnlyDictionary<string, string> Read(string json)
        {
            var found = new Dictionary<string, string>(StringComparer.Ordinal);
            int at = 0;
            Skip(json, ref at, "{");
            while (at < json.Length && json[at] == '"')
            {
                string key = Text(json, ref at);
                Skip(json, ref at, ":");
                found[key] = at < json.Length && json[at] == '"' ? Text(json, ref at) : Raw(json, ref at);
                Skip(json, ref at, ",");
            }
            return found;
        }

        private static void Skip(string json, ref int at, string marks)
        {
            while (at < json.Length && (char.IsWhiteSpace(json[at]) || marks.IndexOf(json[at]) >= 0)) at++;
        }

        private static string Text(string json, ref int at)
        {
            var text = new StringBuilder();
            for (at++; at < json.Length && json[at] != '"'; at++)
            {
                if (json[at] != '\\') { text.Append(json[at]); continue; }
                at++;
                if (at + 4 < json.Length && json[at] == 'u')
                {
                    text.Append((char)Convert.ToInt32(json.Substring(at + 1, 4), 16));
                    at += 4;
                }
                else if (at < json.Length)
                {
                    int known = "nrtbf".IndexOf(json[at]);
                    text.Append(known < 0 ? json[at] : "\n\r\t\b\f"[known]);
                }
            }
            at++;
            return text.ToString();
        }

        private static string Raw(string json, ref int at)
        {
            int from = at, depth = 0;
            bool quoted = false;
            for (; at < json.Length; at++)
            {
                char c = json[at];
                if (quoted && c == '\\') at++;
                else if (c == '"') quoted = !quoted;
                else if (!quoted && (c == '{' || c == '[')) depth++;
                else if (!quoted && (c == '}' || c == ']' || c == ',') && depth == 0) break;
                else if (!quoted && (c == '}' || c == ']')) depth--;
            }
            return json.Substring(from, at - from).Trim();
        }
    }
}
