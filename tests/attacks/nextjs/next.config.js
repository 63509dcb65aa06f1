module.exports = { experimental: { cpus: 1 }, productionBrowserSourceMaps: false };
