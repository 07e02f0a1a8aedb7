// The default HttpClient of Java 11 and later, which requests HTTP/2 by an upgrade.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.Base64;
import java.nio.file.Files;

class JavaClient {
  public static void main(String[] arguments) throws Exception {
    var url = URI.create(arguments[0] + "/predict");
    var file = Path.of(arguments[1]);
    var text = Base64.getMimeEncoder().encodeToString(Files.readAllBytes(file));
    var json = "{\"instances\": [{\"b64\": \"" + text.replace("\r\n", "\\r\\n") + "\"}]}";
    var client = HttpClient.newHttpClient();
    for (var body : new HttpRequest.BodyPublisher[] {
        HttpRequest.BodyPublishers.ofFile(file), HttpRequest.BodyPublishers.ofString(json)}) {
      var answer = client.send(HttpRequest.newBuilder(url).POST(body).build(), HttpResponse.BodyHandlers.ofString());
      System.out.println(answer.statusCode() + " " + answer.body());
    }
  }
}
