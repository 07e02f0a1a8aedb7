// 모든 문장의 한국어판.

/** @type {typeof import("./english.js").english} */
export const korean = {
  title: "신경망이 보는 것",
  lead: "옷을 구별하는 합성곱 신경망이 이 서버에서 돌고 있습니다. 사진을 넣고 픽셀에서 답까지 모든 수를 따라가 보세요.",
  served: "{name} 버전 {version} · 매개변수 {parameters}개 · {accuracy}",
  accuracy: "테스트 사진의 {share}를 맞힘",
  api: "API", language: "언어", skip: "신경망으로 건너뛰기",

  give: "사진 넣기", drop: "옷 사진을 여기에 끌어다 놓거나 붙여 넣으세요. 또는", choose: "파일 선택",
  camera: "카메라", draw: "그리기", shoot: "촬영", viewfinder: "카메라 화면",
  sheet: "28×28 픽셀 그림판: 손가락이나 마우스, 화살표 키로 그립니다. Shift를 누르면 그리지 않고 움직입니다",
  thickness: "펜 굵기", rubber: "지우개", wipe: "모두 지우기", samples: "테스트 세트의 예", samplesTitle: "또는 테스트 사진에서 고르기", sample: "예",
  noCamera: "카메라를 사용할 수 없습니다.", unreachable: "서비스가 응답하지 않습니다.",
  compare: "두 장 비교", compareHint: "다음에 넣는 사진이 B가 됩니다.",
  key: "이 서비스는 API 키가 필요합니다", useKey: "사용",

  seen: "모델이 본 것", prepare: "전처리", auto: "자동", photo: "사진으로", plain: "회색조와 크기만",
  original: "원본 사진", given: "넣은 그대로의 {name}", after: "이 단계를 거친 사진: {step}", input: "신경망에 들어가는 픽셀", decoded: "해독", cut_out: "배경 제거",
  light_on_black: "반전: 검정 위에 밝게", grey: "회색조", cropped: "잘라 냄", centred: "가운데 놓음", resized: "크기 조절",
  unchanged: "비트 그대로", savePicture: "사진 저장",

  answer: "답", sorted: "확률이 높은 순", refused: "답 없음",
  known: "신경망이 배운 것과 비슷합니다.",
  strange: "신경망이 배운 것과 달라서 이 답은 믿기 어렵습니다.",
  novelty: "낯섦 {novelty}, 기준 {threshold}",
  saveAnswer: "답을 JSON으로", same: "셸에서 같은 요청 보내기", request: "요청", requestAnswer: "답",
  requestMaps: "이 특징 맵을 수로", requestPicture: "모든 특징 맵을 그림으로", copy: "복사", copied: "복사됨",

  network: "층별로 본 신경망", networkLead: "픽셀을 가리키면 그 값이 나온 창이 앞 층에서 밝아지고 계산이 수로 적힙니다. 누르면 고정됩니다.",
  overview: "층", scale: "색 눈금", perLayer: "층마다", perMap: "맵마다", forAll: "모든 층 공통", show: "보기", maps: "특징 맵",
  kernels: "커널", saveAll: "모든 맵을 PNG로", saveMaps: "PNG: {layer}의 맵", parameters: "매개변수", kernel: "커널", window: "창", stride: "스트라이드",
  padding: "패딩", mapsOf: "{layer}의 특징 맵", kernelsOf: "{layer}의 커널", unitsOf: "{layer}의 유닛",
  mapLabel: "맵 {channel}, 색 {low} … {high}", inputMap: "0부터 1까지의 수로 된 사진", kernelLabel: "커널 {channel}",
  unitLabel: "유닛 {unit}: {value}", legend: "색은 {low}부터 {high}까지", itsLeast: "최솟값", itsMost: "최댓값",

  explain_input: "수로 된 사진: 픽셀을 255로 나누어 검정은 0, 흰색은 1입니다.",
  explain_convolution: "맵마다 커널 하나가 앞 층 전체를 훑습니다. 수에 가중치를 곱해 모두 더하고, 편향을 더한 뒤 활성화 함수를 거칩니다.",
  explain_pooling: "맵을 하나씩 따로 줄입니다. 수 하나가 창 하나를 대신합니다. 여기서는 아무것도 배우지 않습니다.",
  explain_flatten: "맵들이 한 줄의 수가 됩니다. 픽셀 순서대로, 픽셀마다 모든 맵의 값이 이어집니다. 계산은 없습니다.",
  explain_dense: "유닛마다 앞의 모든 수에 가중치를 곱해 더하고, 편향을 더한 뒤 활성화 함수를 거칩니다.",
  explain_softmax: "유닛마다 앞의 모든 수에 가중치를 곱해 더하고 편향을 더합니다. 소프트맥스가 이 합들을 모두 더해 1이 되는 몫, 곧 확률로 바꿉니다.",
  explain_dropout: "훈련할 때 일부 유닛을 무작위로 꺼서 어느 하나에 지나치게 기대지 않게 합니다. 답할 때는 아무 일도 하지 않습니다.",
  explain_other: "이 페이지가 계산법을 모르는 층입니다.",

  inspector: "들여다보기", large: "선택한 맵. 화살표 키로 픽셀을, Page Up과 Page Down으로 맵을 옮깁니다.",
  source: "픽셀이 나온 창이 표시된 앞 층", previous: "이전", next: "다음", hold: "고정",
  step: "화살표 키로 픽셀을, Page Up과 Page Down으로 맵을 옮깁니다.", map: "맵", unit: "유닛",
  atPixel: "행 {row}, 열 {column}: {value}", ofUnit: "값 {value}", otherPixel: "{letter}의 같은 픽셀: {value}",
  perInput: "앞 층의 맵 {count}개가 각각 더하는 값: 골라서 창을 볼 수 있습니다", inputLabel: "맵 {map}: {sum}",
  underKernel: "창 × 커널", underKernelOf: "창 × 커널, {layer}의 맵 {map}",
  ofThisMap: "맵 {map}", ofOtherMaps: "나머지 맵 {count}개", sumOf: "곱 {count}개의 합", bias: "편향", total: "모두 더하면", pixelOver: "픽셀 ÷ {scale}",
  winner: "최댓값", largestOf: "{count}개 중 가장 큰 값", averageOf: "{count}개의 평균", sumOfNumbers: "수 {count}개의 합", divided: "개수로 나눔",
  perMapAdds: "{layer}의 맵이 각각 더하는 값", strongest: "곱 {of}개 중 가장 큰 {count}개", others: "나머지 {count}개",
  flatPixel: "맵 {map}, 행 {row}, 열 {column}", logit: "로짓 z", softmax: "소프트맥스: 로짓의 거듭제곱이 전체에서 차지하는 몫",
  share: "몫", largestLogit: "가장 큰 로짓 max", sumOfPowers: "거듭제곱의 합",
  served_note: "위의 답은 {share}입니다. 속도를 위해 같은 가중치를 압축한 사본으로 계산하며, 여기의 수는 모두 훈련된 가중치 그대로 계산한 것입니다.",
  disagrees: "서비스의 답", unknownArithmetic: "이 페이지는 이 층의 계산법을 모릅니다.",

  basics: "합성곱 기초", basicsLead: "신경망을 직접 꾸며 맵의 크기를 확인해 보세요. 입력 열 개를 크기 3인 커널로 훑으면 출력은 여덟 개입니다. same 패딩은 크기를 지키고, 풀링은 크기를 반으로 줄이되 맵의 수는 그대로 둡니다.",
  block: "블록", addBlock: "블록 추가", removeBlock: "블록 {block} 삭제", rest: "블록 다음",
  filters: "필터", kernel_size: "커널 크기", strides: "스트라이드", pooling: "풀링", pool_size: "풀링 크기", activation: "활성화 함수",
  dense_units: "밀집층 유닛", dense_activation: "그 활성화 함수", dropout: "드롭아웃",
  trial: "블록 {block} 시험, 한 변의 입력", inputs: "개",
  tryValid: "입력 {size}개, 커널 {kernel}, 스트라이드 {stride}, 패딩 없음: {sum}",
  trySame: "입력 {size}개, 커널 {kernel}, 스트라이드 {stride}, same 패딩: {sum}",
  tryPooling: "크기 {pool}인 풀링: {size} → {sum}. 맵 {filters}개는 그대로입니다.",
  slidingInput: "입력", slidingOutput: "출력: 하나를 가리키거나 화살표 키로 옮기세요",
  layer: "층", size: "한 변의 크기", shape: "모양", shrunk: "맵이 사라질 만큼 작아집니다. 훈련 프로그램이 이 신경망을 거절합니다.",
  train: "훈련하기", trainLead: "network.toml로 저장하고 실행하세요:",
};

/** What the classes of the data set are called. @type {Record<string, string>} */
export const garments = {
  "T-shirt/top": "티셔츠", Trouser: "바지", Pullover: "풀오버", Dress: "드레스", Coat: "코트",
  Sandal: "샌들", Shirt: "셔츠", Sneaker: "운동화", Bag: "가방", "Ankle boot": "앵클부츠",
};
