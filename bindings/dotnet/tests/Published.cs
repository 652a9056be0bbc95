// What the stand-ins name, in terms of the published Microsoft.Extensions, where those are compiled against.
#if PUBLISHED_EXTENSIONS
using System;
using System.Collections.Generic;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.Memory;
using Microsoft.Extensions.DependencyInjection;

internal sealed class MemoryConfiguration : ConfigurationRoot
{
    internal MemoryConfiguration(IDictionary<string, string> values)
        : base(new IConfigurationProvider[] { new MemoryConfigurationProvider(new MemoryConfigurationSource { InitialData = values }) })
    {
    }
}

internal sealed class Container : IServiceProvider
{
    private readonly ServiceProvider provider;

    internal Container(IServiceCollection services) { provider = services.BuildServiceProvider(); }

    public object GetService(Type type) { return provider.GetService(type); }

    internal IEnumerable<object> All(Type type) { return provider.GetServices(type); }
}
#endif
