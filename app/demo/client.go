package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// client speaks the app's API.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: strings.TrimRight(base, "/"), http: &http.Client{Timeout: time.Minute}}
}

type video struct {
	ID     int64  `json:"id"`
	Title  string `json:"title"`
	Author struct {
		ID int64 `json:"id"`
	} `json:"author"`
}

// reply holds what the demo reads of any answer.
type reply struct {
	StatusCode int     `json:"status_code"`
	StatusMsg  string  `json:"status_msg"`
	UserID     int64   `json:"user_id"`
	Token      string  `json:"token"`
	VideoList  []video `json:"video_list"`
}

// enter registers the name, or logs in where it is taken.
func (c *client) enter(ctx context.Context, name string) (account, error) {
	credentials := url.Values{"username": {name}, "password": {password}}
	answer, err := c.send(ctx, http.MethodPost, "/douyin/user/register/", credentials)
	if err != nil {
		answer, err = c.send(ctx, http.MethodPost, "/douyin/user/login/", credentials)
	}
	return account{id: answer.UserID, name: name, token: answer.Token}, err
}

// works returns the videos of an account, as a stranger sees them without a token.
func (c *client) works(ctx context.Context, of account) ([]video, error) {
	query := url.Values{"user_id": {strconv.FormatInt(of.id, 10)}}
	if of.token != "" {
		query.Set("token", of.token)
	}
	answer, err := c.send(ctx, http.MethodGet, "/douyin/publish/list/", query)
	return answer.VideoList, err
}

// do acts as the account.
func (c *client) do(ctx context.Context, as account, path string, parameters url.Values) error {
	parameters.Set("token", as.token)
	_, err := c.send(ctx, http.MethodPost, path, parameters)
	return err
}

func (c *client) send(ctx context.Context, method, path string, query url.Values) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return reply{}, err
	}
	return c.read(request)
}

// publish uploads the file without holding it in memory.
func (c *client) publish(ctx context.Context, as account, path, title string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	body, pipe := io.Pipe()
	form := multipart.NewWriter(pipe)
	go func() { pipe.CloseWithError(writeForm(form, file, as.token, title)) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/douyin/publish/action/", body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	_, err = c.read(request)
	return err
}

func writeForm(form *multipart.Writer, file *os.File, token, title string) error {
	part, err := form.CreateFormFile("data", filepath.Base(file.Name()))
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, file); err != nil {
		return err
	}
	for _, field := range [][2]string{{"token", token}, {"title", title}} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			return err
		}
	}
	return form.Close()
}

// read sends the request and returns the answer; anything but success is an
// error that names the path, never the query, which holds the token.
func (c *client) read(request *http.Request) (reply, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return reply{}, fmt.Errorf("%s does not answer: is it running there? (make run)", c.base)
	}
	defer response.Body.Close()
	var answer reply
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return reply{}, fmt.Errorf("%s: HTTP %s, no JSON", request.URL.Path, response.Status)
	}
	if answer.StatusCode != 0 {
		return answer, fmt.Errorf("%s: %s (%d)", request.URL.Path, answer.StatusMsg, answer.StatusCode)
	}
	return answer, nil
}
