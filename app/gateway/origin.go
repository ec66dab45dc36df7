package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// maxHost bounds a host name with its port, as DNS does.
const maxHost = 253 + len(":65535")

// links returns the URLs' bases for one request: what is configured, else the
// scheme and host that the client itself used, so that a phone on the LAN gets
// addresses it can reach.
func (g *Gateway) links(r *http.Request) links {
	base := strings.TrimSuffix(g.cfg.HTTP.PublicURL, "/")
	if base == "" {
		base = g.origin(r)
	}
	media := strings.TrimSuffix(g.cfg.Media.PublicURL, "/")
	if media == "" {
		media = base + "/media"
	}
	return links{base: base, media: media}
}

// origin returns scheme://host of a request. What proxies say counts only from
// those configured; a Host that is none gives way to the address connected to.
func (g *Gateway) origin(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if g.trusted(r.RemoteAddr) {
		if proto := first(r.Header.Get("X-Forwarded-Proto")); proto == "http" || proto == "https" {
			scheme = proto
		}
		if forwarded := first(r.Header.Get("X-Forwarded-Host")); validHost(forwarded) {
			host = forwarded
		}
	}
	if !validHost(host) {
		host = "127.0.0.1"
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			host = local.String()
		}
	}
	return scheme + "://" + host
}

// trusted reports whether addr, host:port, is a configured proxy's.
func (g *Gateway) trusted(addr string) bool {
	if len(g.proxies) == 0 {
		return false
	}
	remote, err := netip.ParseAddrPort(addr)
	if err != nil {
		return false
	}
	return within(g.proxies, remote.Addr().Unmap())
}

// first returns the entry of a comma-separated header that the proxy nearest to
// the client wrote.
func first(header string) string {
	entry, _, _ := strings.Cut(header, ",")
	return strings.TrimSpace(entry)
}

// validHost reports whether host has the form of a name or address with or
// without a port, so that nothing else gets into URLs.
func validHost(host string) bool {
	if host == "" || len(host) > maxHost {
		return false
	}
	name := host
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		var port string
		name, port = host[:i], host[i+1:]
		if port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	if inner, found := strings.CutPrefix(name, "["); found {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6() && addr.Zone() == "" && strings.HasSuffix(inner, "]")
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return name != ""
}
