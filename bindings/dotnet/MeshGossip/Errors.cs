using System;
using System.Runtime.InteropServices;
using System.Text;

namespace MeshGossip
{
    /// <summary>Why a call failed: the codes of mesh_gossip.h.</summary>
    public enum ErrorCode
    {
        Ok = 0, Abi = 1, Argument = 2, Utf8 = 3, TooLarge = 4, Config = 5, Credentials = 6, Io = 7,
        Stopped = 8, Timeout = 9, Busy = 10, NotFound = 11, Refused = 12, Reentrant = 13,
        Forked = 14, Panic = 15, Poisoned = 16, StructSize = 17, Disabled = 18
    }

    /// <summary>A call that the library refused.</summary>
    public sealed class MeshGossipException : Exception
    {
        public MeshGossipException(ErrorCode code, string message, string field) : base(message)
        {
            Code = code;
            Field = field;
        }

        public ErrorCode Code { get; private set; }

        /// <summary>The argument or setting that it is about; null where it is about none.</summary>
        public string Field { get; private set; }
    }

    internal static unsafe class Call
    {
        /// <summary>Throws what the library says of a failure, and frees it.</summary>
        internal static void Check(int result, IntPtr error)
        {
            if (result == 0) return;
            var code = (ErrorCode)result;
            string message = error == IntPtr.Zero ? code.ToString() : Text(Native.error_message(error));
            string field = error == IntPtr.Zero ? null : Text(Native.error_field(error));
            Native.error_free(error);
            throw new MeshGossipException(code, message, field);
        }

        // Encoding.UTF8 puts a replacement for half of a surrogate pair, and says nothing.
        private static readonly UTF8Encoding strict = new UTF8Encoding(false, true);

        /// <summary>NUL-terminated UTF-8; null for null.</summary>
        internal static byte[] Utf8(string text, string field)
        {
            if (text == null) return null;
            Judge(text, field);
            return strict.GetBytes(text + "\0");
        }

        /// <summary>The same of what may not be null.</summary>
        internal static byte[] Needed(string text, string field)
        {
            if (text == null) throw new ArgumentNullException(field);
            return Utf8(text, field);
        }

        /// <summary>A JSON string.</summary>
        internal static string Json(string text, string field)
        {
            Judge(text, field);
            var json = new StringBuilder("\"");
            foreach (char c in text)
            {
                if (c == '"' || c == '\\') json.Append('\\').Append(c);
                else if (c < ' ') json.Append("\\u").Append(((int)c).ToString("x4"));
                else json.Append(c);
            }
            return json.Append('"').ToString();
        }

        // What would reach the mesh as something else is refused: a zero would cut the text short.
        private static void Judge(string text, string field)
        {
            if (text.IndexOf('\0') >= 0)
                throw new MeshGossipException(ErrorCode.Argument, field + " holds a zero character", field);
            try { strict.GetByteCount(text); }
            catch (EncoderFallbackException)
            {
                throw new MeshGossipException(ErrorCode.Utf8, field + " holds half of a surrogate pair, which is no UTF-8", field);
            }
        }

        internal static string Text(IntPtr text)
        {
            if (text == IntPtr.Zero) return null;
            int length = 0;
            while (((byte*)text)[length] != 0) length++;
            return length == 0 ? "" : Encoding.UTF8.GetString((byte*)text, length);
        }

        /// <summary>The content of an owned text, which is freed.</summary>
        internal static string Take(IntPtr text)
        {
            try
            {
                int length = checked((int)Native.text_len(text));
                return length == 0 ? "" : Encoding.UTF8.GetString((byte*)Native.text_data(text), length);
            }
            finally { Native.text_free(text); }
        }
    }
}
