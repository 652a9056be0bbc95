// Registration with Microsoft's container, as OmniRelay's hosts call it. Needs Microsoft.Extensions,
// which comes with the packages of the real SDK only.
#if NET7_0_OR_GREATER
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace OmniRelay.Core.Gossip
{
    public static class MeshGossipServiceCollectionExtensions
    {
        /// <summary>Registers the agent with the settings under mesh:gossip.</summary>
        public static IServiceCollection AddMeshGossipAgent(this IServiceCollection services, IConfiguration configuration)
        {
            ArgumentNullException.ThrowIfNull(configuration);
            return services.AddMeshGossipAgent(options => Read(configuration.GetSection("mesh:gossip"), options));
        }

        public static IServiceCollection AddMeshGossipAgent(this IServiceCollection services, Action<MeshGossipOptions>? configure)
        {
            ArgumentNullException.ThrowIfNull(services);
            services.TryAddSingleton<IMeshGossipAgent>(_ =>
            {
                var options = new MeshGossipOptions();
                configure?.Invoke(options);
                return options.Enabled ? new MeshGossipAgent(options) : new NullMeshGossipAgent(options);
            });
            services.TryAddSingleton<IMeshMembershipSnapshotProvider>(provider => provider.GetRequiredService<IMeshGossipAgent>());
            services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, MeshGossipHostedService>());
            return services;
        }

        // Every key is handed to the engine as it was written, so that the engine's own messages
        // name what is wrong; the few that decide something here are read as well.
        private static void Read(IConfiguration section, MeshGossipOptions options)
        {
            foreach (var child in section.GetChildren()) Walk(child, child.Key, options);
        }

        private static void Walk(IConfigurationSection section, string path, MeshGossipOptions options)
        {
            foreach (var child in section.GetChildren()) Walk(child, path + ":" + child.Key, options);
            if (section.Value == null) return;
            string value = section.Value;
            var parts = path.Split(':');
            switch (path.ToLowerInvariant())
            {
                case "enabled": options.Enabled = !string.Equals(value, "false", StringComparison.OrdinalIgnoreCase); return;
                case "nodeid": options.NodeId = value; return;
                case "role": options.Role = value; return;
                case "clusterid": options.ClusterId = value; return;
                case "region": options.Region = value; return;
                case "meshversion": options.MeshVersion = value; return;
                case "tls:certificatepath": options.Tls.CertificatePath = value; return;
                case "tls:certificatedata": options.Tls.CertificateData = value; return;
            }
            if (parts.Length == 2 && string.Equals(parts[0], "labels", StringComparison.OrdinalIgnoreCase)) options.Labels[parts[1]] = value;
            else if (parts.Length == 2 && string.Equals(parts[0], "seedPeers", StringComparison.OrdinalIgnoreCase)) options.SeedPeers.Add(value);
            else options.Additional[path] = value;
        }
    }

    internal sealed class MeshGossipHostedService : IHostedService
    {
        private readonly IMeshGossipAgent agent;

        public MeshGossipHostedService(IMeshGossipAgent agent) { this.agent = agent; }

        public Task StartAsync(CancellationToken cancellationToken) { return agent.StartAsync(cancellationToken).AsTask(); }
        public Task StopAsync(CancellationToken cancellationToken) { return agent.StopAsync(cancellationToken).AsTask(); }
    }
}
#endif
