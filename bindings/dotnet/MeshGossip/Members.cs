using System;
using System.Collections.Generic;
using System.Collections.ObjectModel;

namespace MeshGossip
{
    public enum MemberStatus { Alive = 1, Suspect = 2, Failed = 3, Left = 4 }

    public enum Lifecycle { Active = 0, Cordoned = 1, Draining = 2, Drained = 3, Leaving = 4 }

    /// <summary>The 16 bytes that name a member within the mesh.</summary>
    public struct MemberId : IEquatable<MemberId>
    {
        private readonly ulong high;
        private readonly ulong low;

        internal unsafe MemberId(byte* bytes)
        {
            high = low = 0;
            for (int i = 0; i < 8; i++)
            {
                high = high << 8 | bytes[i];
                low = low << 8 | bytes[i + 8];
            }
        }

        public bool IsZero { get { return (high | low) == 0; } }

        public byte[] ToBytes()
        {
            var bytes = new byte[16];
            for (int i = 0; i < 8; i++)
            {
                bytes[i] = (byte)(high >> (56 - 8 * i));
                bytes[i + 8] = (byte)(low >> (56 - 8 * i));
            }
            return bytes;
        }

        public bool Equals(MemberId other) { return high == other.high && low == other.low; }
        public override bool Equals(object other) { return other is MemberId && Equals((MemberId)other); }
        public override int GetHashCode() { return (high ^ low).GetHashCode(); }
        public override string ToString() { return high.ToString("x16") + low.ToString("x16"); }
    }

    /// <summary>One member as of one moment; nothing of it changes.</summary>
    public sealed unsafe class Member
    {
        internal Member(MemberRecord* record)
        {
            Id = new MemberId(record->Id);
            Generation = record->Generation;
            Counter = record->Counter;
            Status = (MemberStatus)record->Status;
            Lifecycle = (Lifecycle)record->Lifecycle;
            IsLocal = (record->Flags & 1) != 0;
            Http3Support = (record->Flags & 2) != 0;
            MetadataVersion = record->MetadataVersion;
            NodeId = record->NodeId.Text();
            Role = record->Role.Text();
            ClusterId = record->ClusterId.Text();
            Region = record->Region.Text();
            MeshVersion = record->MeshVersion.Text();
            Endpoint = record->Endpoint.Text();
            var labels = new Dictionary<string, string>(StringComparer.Ordinal);
            // A library may know more of a label than this assembly.
            ulong apart = (ulong)Native.labels_stride();
            for (ulong i = 0; i < (ulong)record->LabelsLength; i++)
            {
                var label = (LabelRecord*)((byte*)record->Labels + i * apart);
                labels[label->Key.Text()] = label->Value.Text();
            }
            Labels = new ReadOnlyDictionary<string, string>(labels);
        }

        public MemberId Id { get; private set; }
        public ulong Generation { get; private set; }
        public uint Counter { get; private set; }
        public MemberStatus Status { get; private set; }
        public Lifecycle Lifecycle { get; private set; }
        public bool IsLocal { get; private set; }
        public bool Http3Support { get; private set; }
        public ulong MetadataVersion { get; private set; }
        public string NodeId { get; private set; }
        public string Role { get; private set; }
        public string ClusterId { get; private set; }
        public string Region { get; private set; }
        public string MeshVersion { get; private set; }
        public string Endpoint { get; private set; }
        public IReadOnlyDictionary<string, string> Labels { get; private set; }
    }

    /// <summary>What our own exchanges with one member showed.</summary>
    public sealed class Contact
    {
        internal Contact(DateTimeOffset last, double? rttMs)
        {
            Last = last;
            RoundTripTimeMs = rttMs;
        }

        /// <summary>When a datagram of it came last.</summary>
        public DateTimeOffset Last { get; private set; }

        /// <summary>Smoothed round-trip time; null where none was measured.</summary>
        public double? RoundTripTimeMs { get; private set; }
    }

    /// <summary>The members as of one moment; holds nothing of the library.</summary>
    public sealed class View
    {
        internal View(ulong generation, DateTimeOffset time, MemberId localId, IReadOnlyList<Member> members)
        {
            Generation = generation;
            GeneratedAt = time;
            LocalId = localId;
            Members = members;
        }

        public ulong Generation { get; private set; }
        public DateTimeOffset GeneratedAt { get; private set; }
        public MemberId LocalId { get; private set; }
        public IReadOnlyList<Member> Members { get; private set; }

        /// <summary>The member of this name, null where there is none.</summary>
        public Member Find(string nodeId)
        {
            foreach (var member in Members)
                if (member.NodeId == nodeId) return member;
            return null;
        }
    }

    /// <summary>Keeps what was translated, so that only chunks that changed cost anything.</summary>
    internal sealed unsafe class ViewCache
    {
        private readonly object gate = new object();
        private Dictionary<ulong, Member[]> chunks = new Dictionary<ulong, Member[]>();
        private View view;

        internal View Read(SnapshotHandle snapshot)
        {
            lock (gate)
            {
                ulong generation = Native.snapshot_generation(snapshot);
                // Another thread may have read a newer snapshot since this one was acquired.
                if (view != null && view.Generation >= generation) return view;
                var kept = new Dictionary<ulong, Member[]>();
                var members = new List<Member>(checked((int)Native.snapshot_len(snapshot)));
                ulong count = (ulong)Native.snapshot_chunk_count(snapshot);
                for (ulong index = 0; index < count; index++)
                {
                    ulong key = Native.snapshot_chunk_generation(snapshot, (UIntPtr)index);
                    Member[] chunk;
                    if (!chunks.TryGetValue(key, out chunk)) chunk = Translate(snapshot, index);
                    kept[key] = chunk;
                    members.AddRange(chunk);
                }
                chunks = kept;
                view = new View(generation, Time.FromUnixMs(Native.snapshot_time(snapshot)),
                    new MemberId(Native.snapshot_local_id(snapshot)), members.AsReadOnly());
                return view;
            }
        }

        private static Member[] Translate(SnapshotHandle snapshot, ulong index)
        {
            IntPtr records;
            UIntPtr length, stride;
            Call.Check(Native.snapshot_chunk(snapshot, (UIntPtr)index, out records, out length, out stride), IntPtr.Zero);
            var chunk = new Member[checked((int)length)];
            for (int i = 0; i < chunk.Length; i++)
                chunk[i] = new Member((MemberRecord*)((byte*)records + (ulong)i * (ulong)stride));
            return chunk;
        }
    }

    internal static class Time
    {
        internal static DateTimeOffset FromUnixMs(ulong ms)
        {
            return new DateTimeOffset(1970, 1, 1, 0, 0, 0, TimeSpan.Zero).AddMilliseconds(ms);
        }
    }
}
