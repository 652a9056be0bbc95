using System;

namespace MeshGossip
{
    public enum EventKind
    {
        Joined = 1, Recovered = 2, Suspected = 3, Unreachable = 4, Left = 5, Updated = 6, Forgotten = 7,
        LeaderChanged = 8, Refuted = 9, Conflict = 10, Alarm = 11, RecordRejected = 12, JoinComplete = 13,
        LeaveComplete = 14, Overflow = 15, Broadcast = 16, Message = 17, Missed = 18, Ended = 19
    }

    public enum LeftReason { None = 0, Left = 1, Failed = 2, Revoked = 3 }

    /// <summary>One event; what a field means stands with its kind in mesh_gossip.h.</summary>
    public sealed unsafe class MeshEvent
    {
        internal MeshEvent(EventRecord* record)
        {
            Kind = (EventKind)record->Kind;
            Detail = record->Detail;
            At = Time.FromUnixMs(record->AtUnixMs);
            Count = record->Count;
            Id = new MemberId(record->Id);
            PreviousId = new MemberId(record->PreviousId);
            Topic = record->Topic;
            Text = record->Text.Text();
            Payload = record->Payload.Copy();
            Member = record->Member == null ? null : new Member(record->Member);
        }

        public EventKind Kind { get; private set; }
        public uint Detail { get; private set; }
        public LeftReason Reason { get { return Kind == EventKind.Left ? (LeftReason)Detail : LeftReason.None; } }
        public DateTimeOffset At { get; private set; }
        public ulong Count { get; private set; }
        public MemberId Id { get; private set; }
        public MemberId PreviousId { get; private set; }
        public uint Topic { get; private set; }
        public string Text { get; private set; }
        public byte[] Payload { get; private set; }
        public Member Member { get; private set; }
    }
}
