package gateway

import (
	"context"
	"net/http"
	"strings"
)

// endpoint answers one kind of request. Errors become failures with the
// endpoint's empty answer.
type endpoint func(*Gateway, context.Context, *request) (answer, error)

// route is one endpoint of the API.
type route struct {
	method string
	// path has a final slash; it is served without one too (API §1.1).
	path   string
	policy policy
	// load is what answering costs, by which requests are let in.
	load load
	// empty is the answer of a failure: all keys, with empty values.
	empty  func() answer
	handle endpoint
}

// load is what a request costs.
type load int

const (
	light load = iota
	// hashing takes 30 ms of a core and waits its turn for it, in a line of its own.
	hashing
	// uploading brings a file with the parameters. It is bounded by itself and takes
	// as long as the client's network does.
	uploading
)

// routes is the API.
func routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/douyin/feed/", lenient, light, noFeed, (*Gateway).feed},

		{post, "/douyin/user/register/", open, hashing, noSession, (*Gateway).registerUser},
		{post, "/douyin/user/login/", open, hashing, noSession, (*Gateway).login},
		{get, "/douyin/user/", required, light, noUser, (*Gateway).profile},

		{post, "/douyin/publish/action/", required, uploading, noPlain, (*Gateway).publish},
		{get, "/douyin/publish/list/", optional, light, noVideos, (*Gateway).works},

		{post, "/douyin/favorite/action/", required, light, noPlain, (*Gateway).like},
		{get, "/douyin/favorite/list/", optional, light, noVideos, (*Gateway).liked},

		{post, "/douyin/comment/action/", required, light, noComment, (*Gateway).comment},
		{get, "/douyin/comment/list/", optional, light, noComments, (*Gateway).comments},

		{post, "/douyin/relation/action/", required, light, noPlain, (*Gateway).follow},
		{get, "/douyin/relation/follow/list/", optional, light, noUsers, (*Gateway).following},
		{get, "/douyin/relation/follower/list/", optional, light, noUsers, (*Gateway).followers},
		{get, "/douyin/relation/friend/list/", required, light, noFriends, (*Gateway).friends},

		{get, "/douyin/message/chat/", required, light, noMessages, (*Gateway).chat},
		{post, "/douyin/message/action/", required, light, noPlain, (*Gateway).send},
	}
}

// resource is what one path of the API offers.
type resource struct {
	path string
	// routes by method; HEAD is GET without a body, which net/http sees to.
	routes map[string]*route
	// allow lists the methods, for the header of that name.
	allow string
}

// register makes the map that requests are looked up in. Both forms of a path are
// real entries: a redirect would cost some clients the body of their POST.
func (g *Gateway) register(all []route) map[string]*resource {
	paths := map[string]*resource{}
	for i := range all {
		rt := &all[i]
		res := &resource{path: rt.path, routes: map[string]*route{rt.method: rt}, allow: rt.method + ", OPTIONS"}
		if rt.method == http.MethodGet {
			res.routes[http.MethodHead] = rt
			res.allow = "GET, HEAD, OPTIONS"
		}
		paths[rt.path] = res
		paths[strings.TrimSuffix(rt.path, "/")] = res
	}
	return paths
}
