// Registration with Microsoft's container, as OmniRelay's hosts call it. Needs Microsoft.Extensions.
#if NET7_0_OR_GREATER
#nullable enable
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using MeshGossip;

namespace OmniRelay.Core.Gossip
{
    public static class MeshGossipServiceCollectionExtensions
    {
        /// <summary>Registers the agent with the settings of this section, or of mesh:gossip where it has one.</summary>
        public static IServiceCollection AddMeshGossipAgent(this IServiceCollection services, IConfiguration configuration)
        {
            if (services == null) throw new ArgumentNullException("services");
            if (configuration == null) throw new ArgumentNullException("configuration");
            var additional = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            services.Configure<MeshGossipOptions>(options => ConfigurationReader.Read(configuration, options, additional));
            return services.Register(additional);
        }

        /// <summary>Registers the agent with what is set here and by other configurations of the options.</summary>
        public static IServiceCollection AddMeshGossipAgent(this IServiceCollection services, Action<MeshGossipOptions>? configure = null)
        {
            if (services == null) throw new ArgumentNullException("services");
            services.AddOptions<MeshGossipOptions>();
            if (configure != null) services.Configure(configure);
            return services.Register(new Dictionary<string, string>());
        }

        private static IServiceCollection Register(this IServiceCollection services, IDictionary<string, string> additional)
        {
            services.TryAddSingleton<IMeshGossipAgent>(provider =>
            {
                // Reading the options fills the other keys as well.
                var options = provider.GetRequiredService<IOptions<MeshGossipOptions>>().Value;
                if (!options.Enabled) return new NullMeshGossipAgent(options);
                // A host that has services of its own for the agent registers them.
                var given = provider.GetService<MeshGossipAgentServices>() ?? new MeshGossipAgentServices();
                foreach (var key in additional) given.Additional[key.Key] = key.Value;
                var loggers = provider.GetService<ILoggerFactory>();
                if (given.Log == null && loggers != null) given.Log = new LogAdapter(loggers.CreateLogger("OmniRelay.Core.Gossip.MeshGossipAgent")).Tell;
                return new MeshGossipAgent(options, given);
            });
            services.TryAddSingleton<IMeshMembershipSnapshotProvider>(provider => provider.GetRequiredService<IMeshGossipAgent>());
            services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, MeshGossipHostedService>());
            return services;
        }
    }

    internal sealed class MeshGossipHostedService : IHostedService
    {
        private readonly IMeshGossipAgent agent;

        public MeshGossipHostedService(IMeshGossipAgent agent) { this.agent = agent; }

        public Task StartAsync(CancellationToken cancellationToken) { return agent.StartAsync(cancellationToken).AsTask(); }
        public Task StopAsync(CancellationToken cancellationToken) { return agent.StopAsync(cancellationToken).AsTask(); }
    }

    /// <summary>The engine's log for a host's logger: event ids stay, fields are attributes.</summary>
    internal sealed class LogAdapter
    {
        private readonly ILogger logger;

        internal LogAdapter(ILogger logger) { this.logger = logger; }

        internal void Tell(LogEntry entry)
        {
            var state = new List<KeyValuePair<string, object>>();
            foreach (var field in entry.Fields)
                if (field.Key != "EventId") state.Add(new KeyValuePair<string, object>(field.Key, field.Value));
            state.Add(new KeyValuePair<string, object>("{OriginalFormat}", entry.Message));
            logger.Log(Level(entry.Level), new EventId(entry.EventId, Name(entry.EventId)), state, null, (said, failure) => entry.Message);
        }

        private static Microsoft.Extensions.Logging.LogLevel Level(MeshGossip.LogLevel level)
        {
            switch (level)
            {
                case MeshGossip.LogLevel.Error: return Microsoft.Extensions.Logging.LogLevel.Error;
                case MeshGossip.LogLevel.Warn: return Microsoft.Extensions.Logging.LogLevel.Warning;
                case MeshGossip.LogLevel.Info: return Microsoft.Extensions.Logging.LogLevel.Information;
                case MeshGossip.LogLevel.Debug: return Microsoft.Extensions.Logging.LogLevel.Debug;
                default: return Microsoft.Extensions.Logging.LogLevel.Trace;
            }
        }

        private static string? Name(int id)
        {
            switch (id)
            {
                case 1: return "Listening";
                case 2: return "SchemaRejected";
                case 3: return "PeerJoined";
                case 4: return "PeerRecovered";
                case 5: return "PeerSuspect";
                case 6: return "PeerLeft";
                case 7: return "RequestFailed";
                default: return null;
            }
        }
    }
}
#endif
