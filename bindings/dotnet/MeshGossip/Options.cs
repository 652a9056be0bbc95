using System;

namespace MeshGossip
{
    /// <summary>Whether the library loaded is the one that this assembly was written for.</summary>
    public static unsafe class Runtime
    {
        public const uint AbiVersion = 1;

        public static string Version { get { return Call.Text(Native.version_string()); } }
        public static ulong Features { get { return Native.features(); } }

        /// <summary>Throws when the library's ABI or its records are not what this assembly reads.</summary>
        public static void Check()
        {
            uint found = Native.abi_version();
            if (found != AbiVersion)
                throw new MeshGossipException(ErrorCode.Abi, "the library speaks ABI " + found + ", wanted " + AbiVersion, null);
            Fits("event", Native.events_stride(), sizeof(EventRecord));
            Fits("member", Native.members_stride(), sizeof(MemberRecord));
            Fits("label", Native.labels_stride(), sizeof(LabelRecord));
            Fits("contact", Native.contacts_stride(), sizeof(ContactRecord));
        }

        private static void Fits(string what, UIntPtr stride, int known)
        {
            if ((ulong)stride < (ulong)known)
                throw new MeshGossipException(ErrorCode.Abi, "the library's " + what + " records are too short", what);
        }
    }

    /// <summary>Settings of an agent, checked by the library.</summary>
    public sealed unsafe class Options : IDisposable
    {
        internal readonly OptionsHandle Handle;

        private Options(IntPtr raw) { Handle = new OptionsHandle(raw); }

        public static Options FromJson(string json)
        {
            Runtime.Check();
            IntPtr options, error;
            fixed (byte* text = Call.Needed(json, "json"))
                Call.Check(Native.options_from_json(text, out options, out error), error);
            return new Options(options);
        }

        public static Options FromFile(string path)
        {
            Runtime.Check();
            IntPtr options, error;
            fixed (byte* text = Call.Needed(path, "path"))
                Call.Check(Native.options_from_file(text, out options, out error), error);
            return new Options(options);
        }

        /// <summary>Sets a key as "fanout" or "tls:caPath"; null takes back.</summary>
        public Options Set(string key, string value)
        {
            IntPtr error;
            fixed (byte* k = Call.Needed(key, "key"), v = Call.Utf8(value, "value"))
                Call.Check(Native.options_set(Handle, k, v, out error), error);
            return this;
        }

        public void Dispose() { Handle.Dispose(); }
    }
}
