// The structures of mesh_gossip.h, field by field, and the handles that own what the library made.
using System;
using System.Runtime.InteropServices;
using System.Text;

namespace MeshGossip
{
    [StructLayout(LayoutKind.Sequential)]
    internal struct PollDescriptor
    {
        internal int Descriptor;
        internal short Wanted;
        internal short Seen;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct StartOptions
    {
        internal UIntPtr StructSize;
        internal IntPtr Wake;
        internal IntPtr WakeUser;
        internal UIntPtr EventsCapacity;
        internal IntPtr Log;
        internal IntPtr LogUser;
        internal uint LogLevel;
        internal uint Reserved;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct Bytes
    {
        internal byte* Data;
        internal UIntPtr Length;

        internal string Text()
        {
            return Length == UIntPtr.Zero ? "" : Encoding.UTF8.GetString(Data, checked((int)Length));
        }

        internal byte[] Copy()
        {
            var copy = new byte[checked((int)Length)];
            if (copy.Length > 0) Marshal.Copy((IntPtr)Data, copy, 0, copy.Length);
            return copy;
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct LabelRecord
    {
        internal Bytes Key;
        internal Bytes Value;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct MemberRecord
    {
        internal fixed byte Id[16];
        internal ulong Generation;
        internal uint Counter;
        internal uint Status;
        internal uint Lifecycle;
        internal uint Flags;
        internal ulong MetadataVersion;
        internal Bytes NodeId;
        internal Bytes Role;
        internal Bytes ClusterId;
        internal Bytes Region;
        internal Bytes MeshVersion;
        internal Bytes Endpoint;
        internal LabelRecord* Labels;
        internal UIntPtr LabelsLength;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct EventRecord
    {
        internal uint Kind;
        internal uint Detail;
        internal ulong AtUnixMs;
        internal ulong Count;
        internal fixed byte Id[16];
        internal fixed byte PreviousId[16];
        internal uint Topic;
        internal uint Reserved;
        internal Bytes Text;
        internal Bytes Payload;
        internal MemberRecord* Member;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct ContactRecord
    {
        internal fixed byte Id[16];
        internal ulong LastUnixMs;
        internal ulong RttUs;
    }

    /// <summary>An agent. A call holds a reference, so that free never runs beside it.</summary>
    internal sealed class AgentHandle : SafeHandle
    {
        private readonly LogSink log;

        internal AgentHandle(IntPtr raw, LogSink log) : base(IntPtr.Zero, true)
        {
            this.log = log;
            SetHandle(raw);
        }

        public override bool IsInvalid { get { return handle == IntPtr.Zero; } }

        protected override bool ReleaseHandle()
        {
            // An agent that was not freed may still call its log.
            if (Native.agent_free(handle) != 0) return false;
            if (log != null) log.Release();
            return true;
        }
    }

    internal sealed class OptionsHandle : SafeHandle
    {
        internal OptionsHandle(IntPtr raw) : base(IntPtr.Zero, true) { SetHandle(raw); }
        public override bool IsInvalid { get { return handle == IntPtr.Zero; } }
        protected override bool ReleaseHandle() { Native.options_free(handle); return true; }
    }

    internal sealed class SnapshotHandle : SafeHandle
    {
        internal SnapshotHandle(IntPtr raw) : base(IntPtr.Zero, true) { SetHandle(raw); }
        public override bool IsInvalid { get { return handle == IntPtr.Zero; } }
        protected override bool ReleaseHandle() { Native.snapshot_release(handle); return true; }
    }
}
