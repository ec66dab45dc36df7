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
	// upload is true where a file comes with the parameters.
	upload bool
	// empty is the answer of a failure: all keys, with empty values.
	empty  func() answer
	handle endpoint
}

// routes is the API.
func routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/douyin/feed/", lenient, false, noFeed, (*Gateway).feed},

		{post, "/douyin/user/register/", open, false, noSession, (*Gateway).registerUser},
		{post, "/douyin/user/login/", open, false, noSession, (*Gateway).login},
		{get, "/douyin/user/", required, false, noUser, (*Gateway).profile},

		{post, "/douyin/publish/action/", required, true, noPlain, (*Gateway).publish},
		{get, "/douyin/publish/list/", optional, false, noVideos, (*Gateway).works},

		{post, "/douyin/favorite/action/", required, false, noPlain, (*Gateway).like},
		{get, "/douyin/favorite/list/", optional, false, noVideos, (*Gateway).liked},

		{post, "/douyin/comment/action/", required, false, noComment, (*Gateway).comment},
		{get, "/douyin/comment/list/", optional, false, noComments, (*Gateway).comments},

		{post, "/douyin/relation/action/", required, false, noPlain, (*Gateway).follow},
		{get, "/douyin/relation/follow/list/", optional, false, noUsers, (*Gateway).following},
		{get, "/douyin/relation/follower/list/", optional, false, noUsers, (*Gateway).followers},
		{get, "/douyin/relation/friend/list/", required, false, noFriends, (*Gateway).friends},

		{get, "/douyin/message/chat/", required, false, noMessages, (*Gateway).chat},
		{post, "/douyin/message/action/", required, false, noPlain, (*Gateway).send},
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
