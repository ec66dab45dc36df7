package gateway

// Route is an endpoint of the API as others may know it.
type Route struct {
	// Path has a final slash; it is served without one too.
	Method, Path string
	// Token is what the endpoint wants of one: open, lenient, optional or required.
	Token string
}

// Routes lists the API, for tests that must leave no endpoint out.
func Routes() []Route {
	var list []Route
	for _, rt := range routes() {
		list = append(list, Route{rt.method, rt.path, rt.policy.String()})
	}
	return list
}
