// As much of Microsoft.Extensions as the registration and its tests call, for machines without those packages: the
// names and shapes are theirs, what is behind them is not.
using System;
using System.Collections;
using System.Collections.Generic;
using System.Collections.ObjectModel;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace Microsoft.Extensions.Configuration
{
    public interface IConfiguration
    {
        string this[string key] { get; set; }
        IConfigurationSection GetSection(string key);
        IEnumerable<IConfigurationSection> GetChildren();
    }

    public interface IConfigurationSection : IConfiguration
    {
        string Key { get; }
        string Path { get; }
        string Value { get; set; }
    }

    /// <summary>Keys and values in memory.</summary>
    public class MemoryConfiguration : IConfiguration
    {
        protected readonly IDictionary<string, string> values;
        protected readonly string path;

        public MemoryConfiguration(IDictionary<string, string> values, string path = "")
        {
            this.values = values;
            this.path = path;
        }

        private string Full(string key) { return path == "" ? key : path + ":" + key; }

        public string this[string key]
        {
            get { string value; values.TryGetValue(Full(key), out value); return value; }
            set { values[Full(key)] = value; }
        }

        public IConfigurationSection GetSection(string key) { return new MemorySection(values, Full(key)); }

        public IEnumerable<IConfigurationSection> GetChildren()
        {
            string prefix = path == "" ? "" : path + ":";
            return values.Keys.Where(k => k.StartsWith(prefix, StringComparison.OrdinalIgnoreCase))
                .Select(k => k.Substring(prefix.Length).Split(':')[0]).Distinct(StringComparer.OrdinalIgnoreCase)
                .Select(GetSection).ToArray();
        }
    }

    public sealed class MemorySection : MemoryConfiguration, IConfigurationSection
    {
        public MemorySection(IDictionary<string, string> values, string path) : base(values, path) { }
        public string Key { get { return path.Substring(path.LastIndexOf(':') + 1); } }
        public string Path { get { return path; } }
        public string Value
        {
            get { string value; values.TryGetValue(path, out value); return value; }
            set { values[path] = value; }
        }
    }
}

namespace Microsoft.Extensions.DependencyInjection
{
    public sealed class ServiceDescriptor
    {
        public Type ServiceType;
        public Type ImplementationType;
        public Func<IServiceProvider, object> Factory;

        public static ServiceDescriptor Singleton<TService, TImplementation>() where TImplementation : class, TService
        {
            return new ServiceDescriptor { ServiceType = typeof(TService), ImplementationType = typeof(TImplementation) };
        }
    }

    public interface IServiceCollection : IList<ServiceDescriptor> { }

    public sealed class ServiceCollection : Collection<ServiceDescriptor>, IServiceCollection { }

    public static class ServiceProviderServiceExtensions
    {
        public static T GetService<T>(this IServiceProvider provider) { return (T)provider.GetService(typeof(T)); }

        public static T GetRequiredService<T>(this IServiceProvider provider)
        {
            object found = provider.GetService(typeof(T));
            if (found == null) throw new InvalidOperationException("no service " + typeof(T));
            return (T)found;
        }
    }

    public static class ServiceCollectionServiceExtensions
    {
        public static IServiceCollection AddSingleton<T>(this IServiceCollection services, Func<IServiceProvider, T> factory) where T : class
        {
            services.Add(new ServiceDescriptor { ServiceType = typeof(T), Factory = provider => factory(provider) });
            return services;
        }
    }

    public static class OptionsServiceCollectionExtensions
    {
        public static void AddOptions<T>(this IServiceCollection services) where T : class, new()
        {
            Extensions.ServiceCollectionDescriptorExtensions.TryAddSingleton<Options.IOptions<T>>(services, provider => new Options.Made<T>(provider));
        }

        public static IServiceCollection Configure<T>(this IServiceCollection services, Action<T> configure) where T : class, new()
        {
            services.AddOptions<T>();
            services.Add(new ServiceDescriptor { ServiceType = typeof(Action<T>), Factory = provider => configure });
            return services;
        }
    }

    /// <summary>Singletons, made when they are first asked for.</summary>
    public sealed class Container : IServiceProvider
    {
        private readonly IServiceCollection services;
        private readonly Dictionary<ServiceDescriptor, object> made = new Dictionary<ServiceDescriptor, object>();

        public Container(IServiceCollection services) { this.services = services; }

        public object GetService(Type type) { return All(type).LastOrDefault(); }

        public IEnumerable<object> All(Type type) { return services.Where(s => s.ServiceType == type).Select(Make).ToArray(); }

        private object Make(ServiceDescriptor service)
        {
            object one;
            if (made.TryGetValue(service, out one)) return one;
            if (service.Factory != null) one = service.Factory(this);
            else
            {
                var constructor = service.ImplementationType.GetConstructors()[0];
                one = constructor.Invoke(constructor.GetParameters().Select(p => GetService(p.ParameterType)).ToArray());
            }
            return made[service] = one;
        }
    }
}

namespace Microsoft.Extensions.DependencyInjection.Extensions
{
    public static class ServiceCollectionDescriptorExtensions
    {
        public static void TryAddSingleton<T>(this IServiceCollection services, Func<IServiceProvider, T> factory) where T : class
        {
            if (services.Any(s => s.ServiceType == typeof(T))) return;
            services.Add(new ServiceDescriptor { ServiceType = typeof(T), Factory = provider => factory(provider) });
        }

        public static void TryAddEnumerable(this IServiceCollection services, ServiceDescriptor service)
        {
            if (!services.Any(s => s.ServiceType == service.ServiceType && s.ImplementationType == service.ImplementationType)) services.Add(service);
        }
    }
}

namespace Microsoft.Extensions.Options
{
    public interface IOptions<T> { T Value { get; } }

    internal sealed class Made<T> : IOptions<T> where T : class, new()
    {
        private readonly Lazy<T> value;

        internal Made(IServiceProvider provider)
        {
            value = new Lazy<T>(() =>
            {
                var made = new T();
                foreach (Action<T> configure in ((DependencyInjection.Container)provider).All(typeof(Action<T>))) configure(made);
                return made;
            });
        }

        public T Value { get { return value.Value; } }
    }
}

namespace Microsoft.Extensions.Hosting
{
    public interface IHostedService
    {
        Task StartAsync(CancellationToken cancellationToken);
        Task StopAsync(CancellationToken cancellationToken);
    }
}

namespace Microsoft.Extensions.Logging
{
    public enum LogLevel { Trace, Debug, Information, Warning, Error, Critical, None }

    public struct EventId
    {
        public readonly int Id;
        public readonly string Name;

        public EventId(int id, string name = null)
        {
            Id = id;
            Name = name;
        }
    }

    public interface ILoggerProvider { }

    public interface ILogger
    {
        bool IsEnabled(LogLevel logLevel);
        IDisposable BeginScope<TState>(TState state);
        void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception exception, Func<TState, Exception, string> formatter);
    }

    public interface ILoggerFactory : IDisposable
    {
        void AddProvider(ILoggerProvider provider);
        ILogger CreateLogger(string categoryName);
    }
}
